"""ViTDet Cascade Mask R-CNN, ViT-B/16, 100 epochs of LVIS v1: federated loss, repeat-factor sampling, 300 detections.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Data      data/lvis_v1/annotations/lvis_v1_{train,val}.json beside COCO's train2017 and val2017; pip install lvis
Time      not yet run here
Score     43.0 box AP, 38.9 mask AP from MAE (authors); 0.3 between seeds (authors); not yet run here
"""
_base_ = [
    "../_base_/model/cascade-mask-rcnn_vitdet.py",
    "../_base_/data/lvis_lsj-1024.py",
    "../_base_/schedule/vitdet_lvis.py",
    "../_base_/detection_iters_runtime.py",
]
custom_imports = dict(imports=["mimtransfer", "mimtransfer.openmmlab.cascade"])
protocol = "ViTDet Cascade Mask R-CNN, LVIS, 100 epochs"
# mmengine replaces lists as a whole: the three heads of the base, with 1203 classes and another loss.
bbox_head = dict(
    _base_.bbox_head,
    num_classes=1203,
    loss_cls=dict(type="mimtransfer.FederatedLoss", num_classes=1203),
)
model = dict(
    roi_head=dict(
        bbox_head=[dict(bbox_head, bbox_coder=coder) for coder in _base_.coders], mask_head=dict(num_classes=1203)
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.02, max_per_img=300)),
)
