"""UperNet, ViT-B/16, 80k iterations of iSAID at 896: 16 classes, the background one of them.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/iSAID/{img_dir,ann_dir}/{train,val}, made by mmseg's tools/dataset_converters/isaid.py
Time      not yet run here
Score     none published for MAE in mmseg's protocol; not yet run here
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "mmseg::_base_/datasets/isaid.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_linear, sliding_window

protocol = "UperNet, iSAID 896, 80k iterations"
model = sliding_window((896, 896), stride=(512, 512), num_classes=16, img_size=(896, 896))
train_cfg, param_scheduler = iteration_linear(iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
