"""ViTDet's pyramid and Mask R-CNN's heads trained on a frozen ViT-B/16, 25 epochs of COCO.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      not yet run here
Score     none published; not yet run here
Departs   from the trained recipe: every block is global and has no relative positions, since windows, and tables that
          nobody trains, would change the features that are judged; no drop path
"""
_base_ = "./mask-rcnn_vitdet_vit-base_25e_coco.py"
protocol = "ViTDet Mask R-CNN, frozen backbone, COCO, 25 epochs"
model = dict(
    backbone=dict(window_size=0, global_blocks=(), rel_pos=None, drop_path_rate=0.0, frozen_stages=12, final_norm=True)
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
