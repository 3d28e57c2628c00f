"""SimMIM, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images; data and schedule as
mae_vit-tiny-p4_10e_cifar10.py.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    _delete_=True,
    type="SimMIM",
    encoder=_base_.model.encoder,
    # The published cell is a sixth of the image's side; one patch is an eighth.
    strategy=dict(type="RandomMasking", mask_ratio=0.6),
    data_preprocessor=_base_.model.data_preprocessor,
)
