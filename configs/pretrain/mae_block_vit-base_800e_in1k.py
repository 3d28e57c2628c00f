"""MAE with BEiT's block masking, ViT-B/16, 800 epochs on ImageNet-1K: 50 % masked.

Aims at: a baseline. MAE's ViT-L has, at 800 epochs, linear probe 72.3 and fine-tuning 83.9 with blocks at 50 %, 63.9
and 82.8 at 75 %, against 73.5 and 84.9 with random masking at 75 % (arXiv 2111.06377, table 1f).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(strategy=dict(type="BlockMasking", mask_ratio=0.5))
