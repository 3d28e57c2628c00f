"""ViTDet Mask R-CNN, ViT-B/16, 12 epochs of iSAID: instances in aerial patches of 800, 15 classes.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/iSAID/{train,val}: patches of 800 with overlap 200 by iSAID_Devkit, json fixed by mmdet's projects/iSAID
Time      not yet run here
Score     on patches of val (labels of test are withheld): none published for MAE with this head; not yet run here
"""
_base_ = [
    "../_base_/model/mask-rcnn_vitdet.py",
    "mmdet::_base_/datasets/isaid_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "../_base_/detection_runtime.py",
]
protocol = "ViTDet Mask R-CNN, iSAID, 12 epochs"
model = dict(
    data_preprocessor=dict(pad_size_divisor=800),
    backbone=dict(rel_pos_size=800),
    roi_head=dict(bbox_head=dict(num_classes=15), mask_head=dict(num_classes=15)),
)
# mmdet's list begins with a background that no annotation has: every name would be one off.
metainfo = dict(
    classes=(
        "ship", "store_tank", "baseball_diamond", "tennis_court", "basketball_court", "Ground_Track_Field", "Bridge",
        "Large_Vehicle", "Small_Vehicle", "Helicopter", "Swimming_pool", "Roundabout", "Soccer_ball_field", "plane",
        "Harbor",
    ),
)
# Aerial images have no upright orientation.
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(800, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, metainfo=metainfo))  # 8 GPUs x 2 = 16
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
optim_wrapper = dict(
    _delete_=True,
    type="mimtransfer.Bf16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
auto_scale_lr = dict(enable=True, base_batch_size=16)
auto_scale_iters = True
