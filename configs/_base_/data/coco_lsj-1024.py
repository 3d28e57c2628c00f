"""COCO 2017 with large-scale jitter: flip, scale 0.1 to 2 of 1024, crop to 1024 (arXiv 2203.16527, app. A.2).

`data/coco`: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md).
"""
_base_ = "mmdet::_base_/datasets/coco_instance.py"
from mimtransfer.training.recipes import lsj_pipelines

train_pipeline, test_pipeline = lsj_pipelines((1024, 1024))
# 16 GPUs x 4 = 64; images are padded to one size, so batches need no grouping by aspect ratio.
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(_delete_=True, type="InfiniteSampler"),
    batch_sampler=None,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
