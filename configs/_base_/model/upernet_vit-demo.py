"""UperNet made small for 64-pixel scenes: maps of four blocks, 64 channels, pooling to 1, 2 and 3 cells."""
_base_ = ["mmseg::_base_/models/upernet_mae.py", "./vit-demo.py"]

norm_cfg = dict(type="BN", requires_grad=True)  # synchronised on several GPUs, see transfer_runtime.py
width, num_classes = 128, 10
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(_delete_=True, out_indices=(1, 3, 4, 5), **_base_.vit),
    # strides 4, 8, 16, 32 from patch 8
    neck=dict(embed_dim=width, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[width] * 4, channels=64, pool_scales=(1, 2, 3), num_classes=num_classes, norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(in_channels=width, in_index=1, channels=64, num_classes=num_classes, norm_cfg=norm_cfg),
)
