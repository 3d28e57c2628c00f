"""UperNet, ViT-B/16, ADE20K at 512, BEiT's recipe for a checkpoint fine-tuned on ImageNet before (arXiv 2106.08254).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained beit_vit-base.pth
Score     not yet run here; no time known
Position  of a checkpoint with a position embedding (MAE, and ours): configs/_base_/model/upernet_beit_vit.py
"""
_base_ = [
    "../_base_/model/upernet_beit_vit.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_beit-ft_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import sliding_window

protocol = "UperNet as fine-tuned BEiT, ADE20K 512, 160k iterations"
model = sliding_window((512, 512), stride=(341, 341))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
