"""MFM with a wide disc and all frequencies in the loss: a recipe for 32 pixels beside the published share of
mfm_vit-tiny-p4_10e_cifar10.py. A ViT of 1.2 M parameters with patches of 8 pixels, 5 epochs of 10,000 CIFAR-10 images.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Chosen on held-out training images, by a script of its own with these settings: docs/mfm.md. 150 s of one core.
Transfer: patch_size=8 and these model_kwargs for the backbone.
"""
_base_ = ["mfm_vit-tiny-p4_10e_cifar10.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    encoder=dict(patch_size=8, model_kwargs=dict(depth=6, embed_dim=128, num_heads=2)),
    # Cycles per image, of at most 16: the disc holds 109 of 1024 frequencies.
    corruption=dict(radius=6),
    frequency_loss=dict(bins="all"),
)
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=5)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=3.0))
param_scheduler = warmup_cosine(epochs=5, warmup=1, start_factor=1e-3)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MFM, wide disc")]
