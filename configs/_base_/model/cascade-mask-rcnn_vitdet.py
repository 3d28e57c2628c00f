"""Cascade Mask R-CNN on a plain ViT (ViTDet, arXiv 2203.16527): three stages of 4conv1fc with LN, class-agnostic.

Losses, samplers, thresholds and coders are detectron2's, value by value: tests/test_detectron_values.py. mmdet's RoI
head weighs and samples its stages otherwise, see mimtransfer/openmmlab/cascade.py, which the leaves import.
"""
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
    loss_bbox=dict(type="L1Loss", loss_weight=1.0),
)
# Weights 10 and 5, 20 and 10, 30 and 15 of the box regression are the inverse of these.
coders = [
    dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=stds)
    for stds in ([1 / 10, 1 / 10, 1 / 5, 1 / 5], [1 / 20, 1 / 20, 1 / 10, 1 / 10], [1 / 30, 1 / 30, 1 / 15, 1 / 15])
]
model = dict(
    # Padding comes after normalisation, so it is the mean pixel; no side exceeds 1024, hence always 1024 x 1024.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, **vitdet_backbone()),
    neck=dict(_delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2, loss_bbox=dict(_delete_=True, type="L1Loss", loss_weight=1.0)),
    roi_head=dict(
        type="mimtransfer.DetectronCascadeRoIHead",
        stage_loss_weights=[1, 1, 1],
        bbox_head=[dict(bbox_head, bbox_coder=coder) for coder in coders],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        # An anchor that overlaps an object more than all others do is positive, however little that is.
        rpn=dict(allowed_border=-1, assigner=dict(min_pos_iou=1e-6)),
        rpn_proposal=dict(max_per_img=1000),
        # Only the first stage samples; the others take all its boxes, refined.
        rcnn=[
            dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=sampler,
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for iou, sampler in (
                (0.5, dict(type="RandomSampler", num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)),
                (0.6, dict(type="PseudoSampler")),
                (0.7, dict(type="PseudoSampler")),
            )
        ],
    ),
)
