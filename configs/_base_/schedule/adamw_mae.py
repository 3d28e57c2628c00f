"""MAE's optimiser (arXiv 2111.06377, table 8): AdamW, base lr 1.5e-4 for 256 images, 40 epochs of warm-up, cosine to 0.

`max_epochs` and `warmup_epochs` are set by the leaf, which also repeats `param_scheduler` when it changes them.
"""
train_cfg = dict(by_epoch=True, max_epochs=800)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    # Rate 1: no layer-wise decay, only the usual exemption of 1-d parameters from weight decay.
    paramwise_cfg=dict(layer_decay_rate=1.0, no_decay_names=()),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=40, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR", T_max=760, eta_min=0.0, begin=40, end=800, by_epoch=True, convert_to_iter_based=True
    ),
]
