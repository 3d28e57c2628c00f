"""MAE with rotary positions (RoPE-Axial, arXiv 2403.13298), ViT-B/16, 800 epochs on ImageNet-1K.

Aims at: what positions add, against mae_vit-base_800e_in1k.py, whose recipe it is; no scores are published.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
Positions: visible patches are turned by where they lie in the whole image; nothing is added to tokens. Layer scale,
which this arch has, begins at 1, as MAE begins without one. The decoder keeps its sin-cos positions.
"""
_base_ = "./mae_vit-base_800e_in1k.py"
model = dict(encoder=dict(arch="vit_base_patch16_rope_224", pos_embed="learned", layer_scale=1.0))
