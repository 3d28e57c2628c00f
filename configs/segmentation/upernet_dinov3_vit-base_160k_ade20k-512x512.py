"""UperNet on DINOv3's ViT-B/16, 160k iterations of ADE20K at 512: the recipe of the plain ViT-B (arXiv 2111.06377).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained FILE
File      dinov3_vitb16_pretrain_lvd1689m of arXiv 2508.10104, from the authors, timm or Hugging Face
Score     none published for this recipe (the authors keep DINOv3 frozen), nor the time; not yet run here
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"

protocol = "UperNet DINOv3 ViT-B, ADE20K 512, 160k iterations"
model = dict(backbone=dict(arch="vit_base_patch16_dinov3", rel_pos=None, layer_scale=None))
