"""The small UperNet of upernet_vit-demo.py on a ResNet-50, which has maps at strides 4 to 32 without a neck."""
_base_ = "mmseg::_base_/models/upernet_r50.py"

norm_cfg = dict(type="BN", requires_grad=True)  # synchronised on several GPUs, see transfer_runtime.py
num_classes = 10
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(_delete_=True, type="mimtransfer.TimmCNN", arch="resnet50", img_size=64, out_indices=(0, 1, 2, 3)),
    decode_head=dict(channels=64, pool_scales=(1, 2, 3), num_classes=num_classes, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, num_classes=num_classes, norm_cfg=norm_cfg),
)
