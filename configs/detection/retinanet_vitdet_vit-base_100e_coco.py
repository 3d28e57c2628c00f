"""RetinaNet on ViTDet's backbone, ViT-B/16, 100 epochs of COCO: a one-stage head by config alone.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      not yet run here
Score     none published for MAE; not yet run here
"""
_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/data/coco_lsj-1024.py",
    "../_base_/schedule/vitdet_100e.py",
    "../_base_/detection_iters_runtime.py",
]
from mimtransfer.training.recipes import vitdet_backbone

protocol = "ViTDet RetinaNet, COCO, 100 epochs"
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, **vitdet_backbone()),
    # Strides 8, 16, 32; then 64 and 128 by subsampling.
    neck=dict(
        _delete_=True,
        type="mimtransfer.SimpleFeaturePyramid",
        in_channels=768,
        out_channels=256,
        scale_factors=(2, 1, 0.5),
        num_outs=5,
    ),
    bbox_head=dict(norm_cfg=dict(type="LN2d", eps=1e-6)),
)
# Masks are read, to crop as the others do; boxes alone are predicted and scored.
val_evaluator = dict(metric="bbox")
test_evaluator = val_evaluator
