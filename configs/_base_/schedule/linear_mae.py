"""MAE's linear probing (arXiv 2111.06377, appendix A.1): LARS, base lr 0.1 for 256 images, no weight decay, 90 epochs,
10 of warm-up, cosine to 0.
"""
_base_ = []
from mimtransfer.training.recipes import warmup_cosine

train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="LARS", lr=0.1, momentum=0.9, weight_decay=0.0),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=1.0),  # leaves the frozen backbone out
)
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = warmup_cosine(epochs=90, warmup=10, eta_min_ratio=0.0)
