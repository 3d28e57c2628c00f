"""Cascade Mask R-CNN on a plain ViT (ViTDet, arXiv 2203.16527): three stages of 4conv1fc with LN, class-agnostic."""
_base_ = "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py"
from mimtransfer.training.recipes import vitdet_backbone

norm_cfg = dict(type="LN2d", eps=1e-6)
bbox_head = dict(
    type="Shared4Conv1FCBBoxHead",
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=True,
    norm_cfg=norm_cfg,
    loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
)
# Weights 10 and 5, 20 and 10, 30 and 15 of the box regression are the inverse of these.
coders = [
    dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=stds)
    for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
]
model = dict(
    # Padding comes after normalisation, so it is the mean pixel; no side exceeds 1024, hence always 1024 x 1024.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, **vitdet_backbone()),
    neck=dict(_delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=[dict(bbox_head, bbox_coder=coder) for coder in coders], mask_head=dict(norm_cfg=norm_cfg)),
)
