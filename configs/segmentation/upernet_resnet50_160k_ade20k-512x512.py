"""UperNet, ResNet-50, 160k iterations of ADE20K at 512, single scale: mmseg's schedule for ResNets.

Command   torchrun --nproc_per_node=4 tools/train.py CONFIG --launcher pytorch --pretrained mfm_resnet50.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     supervised (ResNet-50 v1c): 42.05 mIoU (mmseg); none published for MFM's ResNet-50; not yet run
"""
_base_ = [
    "mmseg::_base_/models/upernet_r50.py",
    "mmseg::_base_/datasets/ade20k.py",
    "mmseg::_base_/schedules/schedule_160k.py",
    "../_base_/segmentation_runtime.py",
]
protocol = "UperNet ResNet-50, ADE20K 512, 160k iterations"
norm_cfg = dict(type="BN", requires_grad=True)  # synchronised on several GPUs, see transfer_runtime.py
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, type="mimtransfer.TimmCNN", arch="resnet50", out_indices=(0, 1, 2, 3)),
    decode_head=dict(num_classes=150, norm_cfg=norm_cfg),
    auxiliary_head=dict(num_classes=150, norm_cfg=norm_cfg),
)
auto_scale_lr = dict(enable=True, base_batch_size=16)
auto_scale_iters = True
