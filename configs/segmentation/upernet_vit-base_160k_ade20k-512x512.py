"""UperNet, ViT-B/16, 160k iterations of ADE20K at 512: table 5 of MAE (arXiv 2111.06377), single scale, sliding window.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here; about 10 GB a GPU on 8 V100 in mmseg's own MAE config
Score     48.1 mIoU from MAE, 1600 epochs of ImageNet-1k (authors; mmseg: 48.13); not yet run here
Sweep     lr and layer decay are searched for each initialisation in the literature: see docs/transfer.md
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import sliding_window

protocol = "UperNet, ADE20K 512, 160k iterations"
model = sliding_window((512, 512), stride=(341, 341))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
