"""ViTDet's schedule on LVIS: 100 epochs of 100000 images in batches of 64, lr 2e-4."""
_base_ = "./vitdet_100e.py"
from mimtransfer.training.recipes import vitdet_schedule

train_cfg, param_scheduler = vitdet_schedule(epochs=100, images=100000, val_interval=30000)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
