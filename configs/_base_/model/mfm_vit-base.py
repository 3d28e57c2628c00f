"""MFM with ViT-B/16 at 224 pixels as released: half of the images are low-pass filtered, radius 16."""
model = dict(
    type="MFM",
    encoder=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="learned"),
    corruption=dict(type="FrequencyMasking", radius=16, low_pass_ratio=0.5),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
