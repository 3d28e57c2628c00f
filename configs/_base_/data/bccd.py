"""BCCD blood cells as COCO json: boxes of three classes (no masks: box AP only), 640 x 480 brought to 448 x 336."""
_base_ = []
from mimtransfer.training.recipes import box_pipelines

metainfo = dict(classes=("RBC", "WBC", "Platelets"), palette=[(220, 20, 60), (0, 0, 230), (250, 170, 30)])
train_pipeline, test_pipeline = box_pipelines((448, 336), ratio_range=(0.75, 1.25))
data_root = "data/bccd/"
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler"),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
# 72 images, looked at once at the end of the run: no checkpoint is chosen by them.
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        train_dataloader["dataset"],
        ann_file="annotations/instances_test.json",
        data_prefix=dict(img="test/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=data_root + "annotations/instances_test.json", metric="bbox")
test_evaluator = val_evaluator
