"""ViTDet's schedule over 25 epochs in half batches: 8 GPUs x 4 images x 2 accumulated = 64.

Fewer GPUs: raise `accumulative_counts` and, in the same measure, the iterations and milestones; the lr then stays.
"""
_base_ = "./vitdet_100e.py"

max_iters = 92188  # 25 * 118000 / 32
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(80001, max_iters)])
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", milestones=[81944, 88773], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
