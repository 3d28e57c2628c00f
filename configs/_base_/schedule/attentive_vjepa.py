"""V-JEPA's attentive probing of images (arXiv 2404.08471, app. D; released configs): AdamW, lr 1e-3 at batch 1024,
weight decay 1e-3, 20 epochs, cosine to 0, no warm-up.
"""
_base_ = []
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-3),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=1.0),  # leaves the frozen backbone out
)
auto_scale_lr = dict(enable=True, base_batch_size=1024)
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=0, end=20, T_max=20, by_epoch=True, convert_to_iter_based=True)
]
