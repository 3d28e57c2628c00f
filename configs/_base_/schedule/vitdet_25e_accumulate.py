"""ViTDet's schedule over 25 epochs in half batches: 8 GPUs x 4 images x 2 accumulated = 64.

Fewer GPUs: raise `accumulative_counts` in the same measure; the lr then stays, the iterations are scaled.
"""
_base_ = "./vitdet_100e.py"
from mimtransfer.training.recipes import vitdet_schedule

train_cfg, param_scheduler = vitdet_schedule(epochs=25, batch=32)
optim_wrapper = dict(accumulative_counts=2)
