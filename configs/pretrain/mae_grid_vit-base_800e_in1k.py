"""MAE with grid masking, ViT-B/16, 800 epochs on ImageNet-1K: 1 of every 2 x 2 patches stays visible.

Aims at: a baseline. MAE's ViT-L has, at 800 epochs, linear probe 66.0 and fine-tuning 84.0 with the grid, against 73.5
and 84.9 with random masking (arXiv 2111.06377, table 1f).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(strategy=dict(type="GridMasking", mask_ratio=0.75))
