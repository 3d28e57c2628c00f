"""MAE + FAMT without throwing, ViT-S/16, 800 epochs on ImageNet-1K: 75 % masked ("am+fft" of the logs).

Aims at: linear probe CIFAR-10 79.94, CIFAR-100 55.71, Tiny-ImageNet 49.43, ImageNet-1K 48.78; fine-tuning 98.19,
87.49, 77.96, 80.57 (logs of FAMT's code, one run each): mostly better than with throwing, at the cost of MAE.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 512 = 4096. Not yet run here.
"""
_base_ = ["./mae_famt_vit-small_800e_in1k.py"]
model = dict(strategy=dict(mask_ratio=0.75, throw_ratio=0.0))
