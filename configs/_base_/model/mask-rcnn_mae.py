"""Mask R-CNN on a plain ViT before ViTDet (arXiv 2111.11429): maps of four blocks, resampled, then an ordinary FPN.

Losses, samplers, thresholds and coders are detectron2's, on which MIMDet rebuilt it, as of ViTDet's Mask R-CNN.
"""
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

norm_cfg = dict(type="BN", requires_grad=True)  # synchronised on several GPUs, see transfer_runtime.py
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,
        pos_embed="sincos",
        pos_antialias=False,
        out_indices=(2, 5, 8, 11),
        final_norm=False,
        window_size=16,
        global_blocks=(2, 5, 8, 11),
        rel_pos="decomposed",
        rel_pos_size=1024,
        drop_path_rate=0.1,
    ),
    # Two deconvolutions, one, none, max-pooling to strides 4, 8, 16, 32; then the FPN.
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
        dict(type="FPN", in_channels=[768] * 4, out_channels=256, num_outs=5, norm_cfg=norm_cfg),
    ],
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        # An anchor that overlaps an object more than all others do is positive, however little that is; in the second
        # stage only proposals that overlap by half are.
        rpn=dict(assigner=dict(min_pos_iou=1e-6)),
        rcnn=dict(assigner=dict(match_low_quality=False)),
    ),
)
