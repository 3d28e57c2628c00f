"""Mask R-CNN as MAE was transferred before ViTDet (arXiv 2111.11429), ViT-B/16, 100 epochs of COCO.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      not yet run here
Score     50.3 box AP, 44.9 mask AP from MAE (authors, github.com/facebookresearch/mae issue 43); not yet run here
Departs   the authors' code is not published: lr, weight decay, windows of 16, schedule follow MIMDet's configs,
          which give 50.4 and 44.9; no layer decay
"""
_base_ = [
    "../_base_/model/mask-rcnn_mae.py",
    "../_base_/data/coco_lsj-1024.py",
    "../_base_/schedule/vitdet_100e.py",
    "../_base_/detection_iters_runtime.py",
]
from mimtransfer.training.recipes import mae_detection_schedule

protocol = "Mask R-CNN as MAE, COCO, 100 epochs"
optim_wrapper = dict(
    optimizer=dict(lr=1.6e-4, weight_decay=0.2),
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=1.0, no_decay_names=("pos_embed", "rel_pos_h", "rel_pos_w")),
)
train_cfg, param_scheduler = mae_detection_schedule(epochs=100)
