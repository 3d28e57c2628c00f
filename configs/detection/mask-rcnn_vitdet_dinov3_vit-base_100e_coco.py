"""ViTDet Mask R-CNN on DINOv3's ViT-B/16, 100 epochs of COCO: the recipe of the plain ViT-B (arXiv 2203.16527).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained FILE (batch 64)
File      dinov3_vitb16_pretrain_lvd1689m of arXiv 2508.10104, from the authors, timm or Hugging Face
Score     none published for this recipe (the authors keep DINOv3 frozen), nor the time; not yet run here
Positions rotary, of the whole image, in windows too; class token and registers are dropped, as ViTDet drops the former
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"

protocol = "ViTDet Mask R-CNN DINOv3 ViT-B, COCO, 100 epochs"
model = dict(backbone=dict(arch="vit_base_patch16_dinov3", pos_antialias=True, rel_pos=None, rel_pos_size=None))
