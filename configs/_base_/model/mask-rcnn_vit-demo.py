"""Mask R-CNN made small for 64-pixel scenes: strides 4 to 16, one square anchor each, thin heads, few proposals."""
_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "./vit-demo.py"]

channels, num_classes = 32, 5
strides = [4, 8, 16]
model = dict(
    backbone=dict(_delete_=True, out_indices=(-1,), **_base_.vit),
    neck=dict(
        _delete_=True,
        type="mimtransfer.SimpleFeaturePyramid",
        in_channels=128,
        out_channels=channels,
        scale_factors=(2, 1, 0.5),
        num_outs=3,
    ),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # 16, 32 and 64 pixels; things are 18 to 38 high and nearly square
        anchor_generator=dict(scales=[4], ratios=[1.0], strides=strides),
    ),
    roi_head=dict(
        # two samples a bin instead of as many as fit: half the time of RoIAlign
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2), out_channels=channels, featmap_strides=strides, finest_scale=10,
        ),
        bbox_head=dict(
            type="ConvFCBBoxHead", num_shared_fcs=1, in_channels=channels, fc_out_channels=128, num_classes=num_classes
        ),
        mask_roi_extractor=dict(
            roi_layer=dict(output_size=7, sampling_ratio=2),
            out_channels=channels,
            featmap_strides=strides,
            finest_scale=10,
        ),
        mask_head=dict(num_convs=1, in_channels=channels, conv_out_channels=channels, num_classes=num_classes),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32), mask_size=14),
    ),
    # After so short a training few scores pass the usual 0.05.
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(score_thr=0.01, max_per_img=20)),
)
