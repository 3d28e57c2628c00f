"""SimMIM, ViT-B/16, 800 epochs on ImageNet-1K.

Aims at: fine-tuning 83.8 (README of microsoft/SimMIM), which has a shared relative position bias where this has learned
absolute positions. Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 2 = 2048, so lr 1e-4 * 2048 / 512 = 4e-4.
"""
_base_ = [
    "../_base_/model/simmim_vit-base.py",
    "../_base_/data/in1k_simmim.py",
    "../_base_/schedule/adamw_simmim.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(accumulative_counts=2)
