"""COCO 2017 with large-scale jitter at 768: flip, scale 0.1 to 2 of 768, crop to 768."""
_base_ = "./coco_lsj-1024.py"
from mimtransfer.training.recipes import lsj_pipelines

train_pipeline, test_pipeline = lsj_pipelines((768, 768))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
