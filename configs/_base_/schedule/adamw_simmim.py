"""SimMIM's optimiser for 800 epochs (its code): AdamW, base lr 1e-4 for 512 images, 10 epochs of warm-up, then constant
and a tenth of it from epoch 700 on; gradient norm at most 5.
"""
train_cfg = dict(by_epoch=True, max_epochs=800)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=5.0),
    constructor="LayerDecayOptimWrapperConstructor",
    # Rate 1: no layer-wise decay, only the official exemptions from weight decay; the mask token of a ViT is decayed.
    paramwise_cfg=dict(layer_decay_rate=1.0, no_decay_names=("pos_embed", "cls_token")),
)
auto_scale_lr = dict(enable=True, base_batch_size=512)
param_scheduler = [
    dict(type="LinearLR", start_factor=5e-7 / 1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type="MultiStepLR", milestones=[700], gamma=0.1, begin=0, end=800, by_epoch=True),
]
