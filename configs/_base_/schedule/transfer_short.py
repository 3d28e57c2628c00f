"""Transfer to small data: AdamW, short warm-up, cosine to 0, one evaluation at the end.

A leaf with other `max_iters` repeats train_cfg and param_scheduler. Layer decay is mild, because random init is
in the same table: a stem at a hundredth of the lr would only hinder it.
"""
max_iters = 600
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.9),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
