"""ViTDet Mask R-CNN on RoPE-ViT-B/16, 100 epochs of COCO: the recipe of the plain ViT-B (arXiv 2203.16527).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained CKPT (batch 64)
File      work_dirs/mae_rope-vit-base_800e_in1k, or a RoPE-Axial ViT-B of arXiv 2403.13298
Score     none published for this recipe, nor the time; not yet run here
Positions rotary, of the whole image, in windows too
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"

protocol = "ViTDet Mask R-CNN RoPE-ViT-B, COCO, 100 epochs"
model = dict(backbone=dict(arch="vit_base_patch16_rope_224", pos_antialias=True, rel_pos=None, rel_pos_size=None))
