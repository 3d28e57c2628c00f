"""COCO 2017 with large-scale jitter at 512: flip, scale 0.1 to 2 of 512, crop to 512."""
_base_ = "./coco_lsj-1024.py"
from mimtransfer.training.recipes import lsj_pipelines

train_pipeline, test_pipeline = lsj_pipelines((512, 512))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
