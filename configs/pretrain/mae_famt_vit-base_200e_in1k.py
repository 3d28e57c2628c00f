"""MAE + FAMT, ViT-B/16, 200 epochs on ImageNet-1K: 45 % masked, 40 % thrown, new maps every 20 epochs.

The schedule of the authors' ViT-S re-runs at the size of ViT-B; no number is published.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_amt_vit-base_400e_in1k.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(strategy=dict(type="FAMTMasking"))
custom_hooks = [*_base_.custom_hooks[:-1], dict(_base_.custom_hooks[-1], begin=40, interval=20)]  # MapBankHook
train_cfg = dict(max_epochs=200)
param_scheduler = warmup_cosine(epochs=200, warmup=40)
