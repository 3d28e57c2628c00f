"""ViTDet's schedule (arXiv 2203.16527): AdamW, lr 1e-4 for 64 images, steps at 88.9 % and 96.3 % of 184375."""
max_iters = 184375  # 100 * 118000 / 64
train_cfg = dict(
    type="IterBasedTrainLoop",
    max_iters=max_iters,
    val_interval=20000,
    dynamic_intervals=[(max_iters // 20000 * 20000 + 1, max_iters)],  # and once at the end
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="mimtransfer.Bf16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    # Biases and relative positions are decayed by the authors, norms and the position embedding of the ViT are not;
    # in neck and heads all is, LN over channels too.
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        bias_decay_mult=1.0,
        no_decay_names=("pos_embed",),
        custom_keys={"neck.": dict(decay_mult=1.0), "head": dict(decay_mult=1.0)},
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", milestones=[163889, 177546], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
# Another global batch scales the lr linearly. The number of iterations stays: change max_iters and milestones yourself.
auto_scale_lr = dict(enable=True, base_batch_size=64)
