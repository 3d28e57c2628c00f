"""Mask R-CNN on a plain ViT (ViTDet, arXiv 2203.16527): windows, four global blocks, simple pyramid, LN heads.

Losses, samplers, thresholds and coders are detectron2's, value by value: tests/test_detectron_values.py.
"""
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
from mimtransfer.training.recipes import vitdet_backbone

norm_cfg = dict(type="LN2d", eps=1e-6)
model = dict(
    # Padding comes after normalisation, so it is the mean pixel; no side exceeds 1024, hence always 1024 x 1024.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, **vitdet_backbone()),
    neck=dict(_delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        # An anchor that overlaps an object more than all others do is positive, however little that is.
        rpn=dict(assigner=dict(min_pos_iou=1e-6)),
        rcnn=dict(assigner=dict(match_low_quality=False)),
    ),
)
