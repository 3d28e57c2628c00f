"""ViT-Ti/4 at 32 pixels with the norm after mean pooling, 10 classes, label smoothing; no mixing, no erasing."""
model = dict(
    type="Classifier",
    backbone=dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=32,
        patch_size=4,
        pos_embed="learned",  # started from MAE's sine-cosine table, and trained
        drop_path_rate=0.0,
        final_norm=False,
    ),
    num_classes=10,
    pooling="mean",
    norm="layer",
    head_std=2e-5,
    label_smoothing=0.1,
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
