"""ViTDet's schedule on LVIS: 100 epochs of 100000 images in batches of 64, lr 2e-4."""
_base_ = "./vitdet_100e.py"

max_iters = 156250
train_cfg = dict(max_iters=max_iters, val_interval=30000, dynamic_intervals=[(150001, max_iters)])
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", milestones=[138889, 150463], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
