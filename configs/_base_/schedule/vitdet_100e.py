"""ViTDet's schedule (arXiv 2203.16527): AdamW, lr 1e-4 for 64 images, 100 epochs, steps at 88.9 % and 96.3 %."""
_base_ = []
from mimtransfer.training.recipes import vitdet_schedule

train_cfg, param_scheduler = vitdet_schedule(epochs=100)
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
# Another global batch scales the lr linearly, and all iterations so that as many images are seen.
auto_scale_lr = dict(enable=True, base_batch_size=64)
auto_scale_iters = True
