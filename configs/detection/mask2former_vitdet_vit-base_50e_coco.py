"""Mask2Former, instances, on ViTDet's backbone, ViT-B/16, 50 epochs of COCO: mmdet's recipe, the ViT with layer decay.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      not yet run here
Score     none in mmdet for a plain ViT; not yet run here
Ops       multi-scale deformable attention: mmcv's own kernel where it is compiled, else plain torch (docs/openmmlab.md)
"""
_base_ = ["mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", "../_base_/transfer_runtime.py"]
from mimtransfer.training.recipes import vitdet_backbone

task = "detection"
protocol = "ViTDet Mask2Former, COCO, 50 epochs"
model = dict(
    backbone=dict(_delete_=True, **vitdet_backbone()),
    neck=dict(type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=4),
    panoptic_head=dict(in_channels=[256, 256, 256, 256]),
)
embedding = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    type="mimtransfer.Bf16OptimWrapper",
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=0.7,
        bias_decay_mult=1.0,
        custom_keys={"query_embed": embedding, "query_feat": embedding, "level_embed": embedding},
    ),
)
max_iters = 368750
param_scheduler = [
    dict(type="MultiStepLR", milestones=[327778, 355092], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
auto_scale_iters = True
