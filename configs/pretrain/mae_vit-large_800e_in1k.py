"""MAE, ViT-L/16, 800 epochs on ImageNet-1K.

Aims at: fine-tuning 85.4, linear probe 73.7 (mmpretrain's re-run). The original took about 42 hours on 64 V100.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(encoder=dict(arch="vit_large_patch16_224"))
