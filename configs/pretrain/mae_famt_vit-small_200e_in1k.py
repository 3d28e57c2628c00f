"""MAE + FAMT, ViT-S/16, 200 epochs on ImageNet-1K, new maps every 20: the re-runs of 2025 in FAMT's code.

Aims at: Tiny-ImageNet linear probe 44.56 (log, one run).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048. Not yet run here.
"""
_base_ = ["./mae_famt_vit-small_800e_in1k.py"]
from mimtransfer.training.recipes import warmup_cosine

custom_hooks = [*_base_.custom_hooks[:-1], dict(_base_.custom_hooks[-1], interval=20)]  # MapBankHook
train_dataloader = dict(batch_size=256)
train_cfg = dict(max_epochs=200)
param_scheduler = warmup_cosine(epochs=200, warmup=40)
