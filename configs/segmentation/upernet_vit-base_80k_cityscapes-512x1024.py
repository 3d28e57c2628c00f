"""UperNet, ViT-B/16, 80k iterations of Cityscapes in crops of 512 x 1024.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/cityscapes/{leftImg8bit,gtFine}/{train,val}, labels by mmseg's dataset_converters/cityscapes.py
Time      not yet run here
Score     none published for MAE; not yet run here
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "mmseg::_base_/datasets/cityscapes.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_linear, sliding_window

protocol = "UperNet, Cityscapes, 80k iterations"
model = sliding_window((512, 1024), stride=(341, 682), num_classes=19, img_size=(512, 1024))
train_cfg, param_scheduler = iteration_linear(iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
