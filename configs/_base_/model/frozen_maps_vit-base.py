"""Frozen patch tokens of a ViT-B/16, after the final norm; images of any size, padded to multiples of the patch."""
model = dict(
    type="mimtransfer.FrozenMaps",
    backbone=dict(type="mimtransfer.TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=16),
    ),
)
