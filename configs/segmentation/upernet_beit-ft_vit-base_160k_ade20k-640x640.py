"""UperNet, ViT-B/16, ADE20K at 640, BEiT's recipe after fine-tuning on ImageNet-22k (arXiv 2106.08254).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained beit_vit-base.pth
Time      not yet run here
Score     53.08 mIoU, 53.84 with TTA (mmseg, from BEiT pt22k_ft22k); not yet run here
Position  of a checkpoint with a position embedding (MAE, and ours): configs/_base_/model/upernet_beit_vit.py
"""
_base_ = [
    "../_base_/model/upernet_beit_vit.py",
    "mmseg::_base_/datasets/ade20k_640x640.py",
    "../_base_/schedule/upernet_beit-ft_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import sliding_window

protocol = "UperNet as fine-tuned BEiT, ADE20K 640, 160k iterations"
model = sliding_window((640, 640), stride=(426, 426), img_size=640)
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
