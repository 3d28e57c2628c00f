"""Semantic FPN, ViT-B/16, 80k iterations of ADE20K at 512: a light head on the simple pyramid.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     none published for MAE with this head; not yet run here
"""
_base_ = [
    "mmseg::_base_/models/fpn_r50.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_linear

protocol = "Semantic FPN, ADE20K 512, 80k iterations"
crop_size = (512, 512)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=512,
        out_indices=(-1,),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    neck=dict(_delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=4),
    decode_head=dict(num_classes=150, norm_cfg=dict(type="BN", requires_grad=True)),
    test_cfg=dict(_delete_=True, mode="slide", crop_size=crop_size, stride=(341, 341)),
)
train_cfg, param_scheduler = iteration_linear(iters=80000, val_interval=16000)
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
