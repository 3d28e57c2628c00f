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
    "mmseg::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "segmentation"
protocol = "UperNet, Cityscapes, 80k iterations"

crop_size = (512, 1024)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(img_size=crop_size),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(_delete_=True, mode="slide", crop_size=crop_size, stride=(341, 682)),
)
max_iters = 80000
train_cfg = dict(max_iters=max_iters, val_interval=8000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=8000))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
