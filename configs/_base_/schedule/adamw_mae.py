"""MAE's optimiser (arXiv 2111.06377, table 8): AdamW, base lr 1.5e-4 for 256 images, 40 epochs of warm-up, cosine to 0.
"""
_base_ = []
from mimtransfer.training.recipes import warmup_cosine

train_cfg = dict(by_epoch=True, max_epochs=800)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    # Rate 1: no layer-wise decay, only the usual exemption of 1-d parameters from weight decay.
    paramwise_cfg=dict(layer_decay_rate=1.0, no_decay_names=()),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = warmup_cosine(epochs=800, warmup=40)
