"""MFM with a ResNet-50 at 224 pixels as released: 3 of 10 images are low-pass filtered, radius 16."""
model = dict(
    type="MFM",
    encoder=dict(type="TimmCNN", arch="resnet50"),
    corruption=dict(type="FrequencyMasking", radius=16, low_pass_ratio=0.3),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
