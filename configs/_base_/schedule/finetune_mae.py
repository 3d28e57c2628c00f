"""MAE's fine-tuning of a ViT-B (its FINETUNE.md): AdamW, base lr 5e-4 for 256 images, layer decay 0.65, 100 epochs, 5
of warm-up, cosine to 1e-6 at 1024 images, which is 5e-4 of the lr.
"""
_base_ = []
from mimtransfer.training.recipes import warmup_cosine

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = warmup_cosine(epochs=100, warmup=5, eta_min_ratio=5e-4)
