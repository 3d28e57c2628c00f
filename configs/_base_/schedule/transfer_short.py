"""Transfer to small data: AdamW, short warm-up, cosine to 0, one evaluation at the end.

A leaf tells another length by `iteration_cosine`. Layer decay is mild, because random init is in the same table: a stem
at a hundredth of the lr would only hinder it.
"""
_base_ = []
from mimtransfer.training.recipes import iteration_cosine

train_cfg, param_scheduler = iteration_cosine(iters=600, warmup=50)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.9),
    clip_grad=dict(max_norm=5.0),
)
