"""MFM, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images; data and schedule as
mae_vit-tiny-p4_10e_cifar10.py.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    _delete_=True,
    type="MFM",
    encoder=_base_.model.encoder,
    # The published radius is 16 cycles in 224 pixels, a share of 1/7 of the highest frequency; the same here: 2.3, that
    # is the 21 lowest of 1024 frequencies.
    corruption=dict(type="FrequencyMasking", radius=16 * 32 / 224),
    data_preprocessor=_base_.model.data_preprocessor,
)
