"""LVIS v1, 1203 classes, large-scale jitter at 1024; images of rare classes are repeated (threshold 1e-3)."""
_base_ = ["mmdet::_base_/datasets/lvis_v1_instance.py"]
from mimtransfer.training.recipes import lsj_pipelines

train_pipeline, test_pipeline = lsj_pipelines((1024, 1024))
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(_delete_=True, type="InfiniteSampler"),
    batch_sampler=None,
    dataset=dict(oversample_thr=1e-3, dataset=dict(pipeline=train_pipeline)),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
