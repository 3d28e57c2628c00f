"""MaPeT's optimiser for 300 epochs (its released configs): AdamW, lr 1.5e-3 for 2048 images, 10 epochs of warm-up from
1e-6, cosine to 1e-5; gradient norm at most 3. BEiT's are the same (README of its code).

The cosine begins where the warm-up ends; the released one began at epoch 0, so that its lr is 0.3 % lower then. Here a
step is an iteration, there an epoch.
"""
_base_ = []
from mimtransfer.training.recipes import warmup_cosine

train_cfg = dict(by_epoch=True, max_epochs=300)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=3.0),
    constructor="LayerDecayOptimWrapperConstructor",
    # Rate 1: no layer-wise decay, only the official exemptions from weight decay; the mask token is decayed.
    paramwise_cfg=dict(layer_decay_rate=1.0, no_decay_names=("pos_embed", "cls_token")),
)
auto_scale_lr = dict(enable=True, base_batch_size=2048)
param_scheduler = warmup_cosine(epochs=300, warmup=10, start_factor=1e-6 / 1.5e-3, eta_min_ratio=1e-5 / 1.5e-3)
