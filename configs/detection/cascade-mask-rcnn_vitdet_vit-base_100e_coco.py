"""ViTDet Cascade Mask R-CNN, ViT-B/16, 100 epochs of COCO: detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      about 19 h on 64 A100 by the authors' 0.362 s per iteration
Score     54.0 box AP, 46.7 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
"""
_base_ = [
    "../_base_/model/cascade-mask-rcnn_vitdet.py",
    "../_base_/data/coco_lsj-1024.py",
    "../_base_/schedule/vitdet_100e.py",
    "../_base_/detection_iters_runtime.py",
]
custom_imports = dict(imports=["mimtransfer", "mimtransfer.openmmlab.cascade"])
protocol = "ViTDet Cascade Mask R-CNN, COCO, 100 epochs"
