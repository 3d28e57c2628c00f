"""ViT-B/16 with the norm after mean pooling, as MAE, MFM, SimMIM and MaPeT are fine-tuned; 1000 classes.

The recipe of DeiT that they share: drop path 0.1, mixup 0.8 or CutMix 1.0, label smoothing 0.1, random erasing 0.25.
"""
model = dict(
    type="Classifier",
    backbone=dict(
        type="TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,
        pos_embed="learned",  # started from MAE's sine-cosine table, and trained
        drop_path_rate=0.1,
        final_norm=False,
    ),
    num_classes=1000,
    pooling="mean",
    norm="layer",
    head_std=2e-5,
    label_smoothing=0.1,
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
    random_erasing=dict(probability=0.25, mode="pixel"),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
