"""I-JEPA's optimiser for 600 epochs (arXiv 2301.08243, appendix A.1): AdamW, lr 1e-3 for 2048 images, 15 epochs of
warm-up from 1e-4, cosine to 1e-6; weight decay from 0.04 to 0.4, along a cosine as in the released code.

Norms and biases are never decayed, the mask token is, as in MAE's.
"""
_base_ = "./adamw_mae.py"
from mimtransfer.training.recipes import warmup_cosine, weight_decay_cosine

train_cfg = dict(max_epochs=600)
optim_wrapper = dict(optimizer=dict(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.04))
auto_scale_lr = dict(base_batch_size=2048)
param_scheduler = [
    *warmup_cosine(epochs=600, warmup=15, start_factor=1e-4 / 1e-3, eta_min_ratio=1e-6 / 1e-3),
    weight_decay_cosine(epochs=600, end_ratio=0.4 / 0.04),
]
