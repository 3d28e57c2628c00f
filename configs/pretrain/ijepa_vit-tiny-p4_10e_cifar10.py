"""I-JEPA, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images; data and schedule as
mae_vit-tiny-p4_10e_cifar10.py, and its encoder, so that the same probes run on both; 4 target blocks of an image.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    _delete_=True,
    type="IJEPA",
    encoder=_base_.model.encoder,
    strategy=dict(type="MultiBlockMasking"),
    predictor=dict(embed_dim=96, depth=2, num_heads=3),
    masks_per_image=4,
    momentum=(0.996, 1.0),
    data_preprocessor=_base_.model.data_preprocessor,
)
