"""ViTDet Mask R-CNN, ViT-B/16, 100 epochs of LVIS v1: federated loss, repeat-factor sampling, 300 detections.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Data      data/lvis_v1/annotations/lvis_v1_{train,val}.json beside COCO's train2017 and val2017; pip install lvis
Time      not yet run here
Score     40.2 box AP, 38.2 mask AP from MAE (authors); 0.3 between seeds (authors); not yet run here
"""
_base_ = [
    "../_base_/model/mask-rcnn_vitdet.py",
    "../_base_/data/lvis_lsj-1024.py",
    "../_base_/schedule/vitdet_lvis.py",
    "../_base_/detection_iters_runtime.py",
]
protocol = "ViTDet Mask R-CNN, LVIS, 100 epochs"
model = dict(
    roi_head=dict(
        bbox_head=dict(
            num_classes=1203,
            loss_cls=dict(_delete_=True, type="mimtransfer.FederatedLoss", num_classes=1203),
        ),
        mask_head=dict(num_classes=1203),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.02, max_per_img=300)),
)
