"""MFM's optimiser for 300 epochs (its released configs): AdamW, base lr 3e-4 for 512 images, 20 epochs of warm-up from
2.5e-7, cosine to 2.5e-6, both for 512 images, too; gradient norm at most 3.

The cosine begins where the warm-up ends; the released one began at epoch 0, so that its lr is 1 % lower then.
"""
_base_ = []
from mimtransfer.training.recipes import warmup_cosine

train_cfg = dict(by_epoch=True, max_epochs=300)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=3e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=3.0),
    constructor="LayerDecayOptimWrapperConstructor",
    # Rate 1: no layer-wise decay, only the official exemptions from weight decay.
    paramwise_cfg=dict(layer_decay_rate=1.0, no_decay_names=("pos_embed", "cls_token")),
)
auto_scale_lr = dict(enable=True, base_batch_size=512)
param_scheduler = warmup_cosine(epochs=300, warmup=20, start_factor=2.5e-7 / 3e-4, eta_min_ratio=2.5e-6 / 3e-4)
