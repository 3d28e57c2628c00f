"""data2vec 2.0, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images; data and schedule as
mae_vit-tiny-p4_10e_cifar10.py, and its encoder, so that the same probes run on both; 4 masks of an image.

Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    _delete_=True,
    type="Data2Vec2",
    encoder=_base_.model.encoder,
    # The published squares are a fifth of the image's side, these a quarter.
    strategy=dict(type="BlockMasking", mask_ratio=0.8, blocks="visible", area=(4 / 64, 4 / 64), min_aspect=1.0,
                  num_blocks=4),
    decoder=dict(embed_dim=192, depth=4, kernel=3, groups=4),  # groups of 48 channels, as published
    top_blocks=10,
    cls_weight=2.56,
    masks_per_image=4,
    # The teacher's memory, 1 / (1 - momentum), is the published share of the training: 1.3 %, then 27 %.
    momentum=(0.95, 0.9975),
    momentum_end=100000 / 375300,
    data_preprocessor=_base_.model.data_preprocessor,
)
