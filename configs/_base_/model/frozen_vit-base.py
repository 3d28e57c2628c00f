"""Frozen features of a ViT-B/16 at 224 pixels, the mean of the patch tokens."""
model = dict(
    type="FrozenFeatures",
    backbone=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    pooling="mean",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
