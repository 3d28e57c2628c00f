"""MAE + FAMT, ViT-S/16, 800 epochs on ImageNet-1K: 45 % masked, 40 % thrown (arXiv 2211.15362v3).

Aims at: linear probe CIFAR-10 79.52, CIFAR-100 55.85, Tiny-ImageNet 48.45, ImageNet-1K 46.99; fine-tuning 98.12,
87.59, 77.66, 80.36 (logs of FAMT's code, one run each; MAE there: probe 76.28, 51.91, 46.86, -; fine-tuning 98.23,
87.44, 77.84, -). Theirs began as a plain MAE of 80 epochs, ours takes maps from epoch 40 on.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 512 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-small_800e_in1k.py"]
model = dict(
    strategy=dict(
        type="FAMTMasking", mask_ratio=0.45, throw_ratio=0.40, warmup=dict(type="RandomMasking", mask_ratio=0.75)
    ),
    norm_pix_loss=False,
)
custom_hooks = [*_base_.custom_hooks, dict(type="MapBankHook", begin=40, interval=40)]
