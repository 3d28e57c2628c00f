"""UperNet on BEiT's ViT-B/16 (arXiv 2106.08254). Departs from it: the bias of the keys, which BEiT lacks, is trained.

BEiT has relative positions alone. For a checkpoint with a position embedding (MAE, and BEiT or MaPeT of this project)
add `--cfg-options model.backbone.pos_embed=learned`.
"""
_base_ = "./upernet_vit.py"
model = dict(backbone=dict(pos_embed="none", layer_scale=0.1))
