"""NYU Depth v2 as mmseg's tools/dataset_converters/nyu.py unpacks it: 480 x 640, 16-bit PNG in millimetres, 0 is no
depth; 24,231 training images, and 654 tested in the crop that everyone uses (Eigen et al., arXiv 1406.2283).
"""
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mimtransfer.LoadDepth"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=(416, 544)),
    dict(type="PhotoMetricDistortion", brightness_delta=16, contrast_range=(0.9, 1.1), saturation_range=(0.9, 1.1)),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="mimtransfer.LoadDepth"), dict(type="PackSegInputs")]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="mimtransfer.DepthFolder",
        data_root="data/nyu/",
        data_prefix=dict(img_path="images/train", depth_map_path="annotations/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    train_dataloader,
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        train_dataloader["dataset"],
        data_prefix=dict(img_path="images/test", depth_map_path="annotations/test"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="DepthMetric", min_depth_eval=1e-3, max_depth_eval=10.0, crop_type="nyu_crop", prefix="depth")
test_evaluator = val_evaluator
