"""Mask R-CNN as MAE was transferred before ViTDet (arXiv 2111.11429), ViT-B/16, 100 epochs of COCO.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/mask-rcnn_mae_vit-base_100e_coco.py \
              --launcher pytorch --pretrained mae_vit-base.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      not yet run here
Score     50.3 box AP, 44.9 mask AP from MAE (authors, github.com/facebookresearch/mae issue 43); not yet run here
Departs   the authors' code is not published: lr, weight decay, windows of 16, schedule follow MIMDet's configs,
          which give 50.4 and 44.9; no layer decay
"""
_base_ = [
    "../_base_/model/mask-rcnn_mae.py",
    "../_base_/data/coco_lsj-1024.py",
    "../_base_/schedule/vitdet_100e.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "detection"
protocol = "Mask R-CNN as MAE, COCO, 100 epochs"

optim_wrapper = dict(
    optimizer=dict(lr=1.6e-4, weight_decay=0.2),
    paramwise_cfg=dict(
        _delete_=True, layer_decay_rate=1.0, no_decay_names=("pos_embed", "rel_pos_h", "rel_pos_w"),
    ),
)
max_iters = 184375
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(180001, max_iters)])
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=461),  # a quarter of an epoch
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=461, T_max=max_iters - 461, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
