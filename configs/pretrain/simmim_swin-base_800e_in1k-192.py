"""SimMIM, Swin-B, 800 epochs on ImageNet-1K at 192 pixels.

Aims at: fine-tuning at 224 pixels 84.0 (README of microsoft/SimMIM). Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp
Effective batch: 8 GPUs x 128 x accumulation 2 = 2048 (official: 16 GPUs x 128), so lr 1e-4 * 2048 / 512 = 4e-4.
"""
_base_ = [
    "../_base_/model/simmim_swin-base.py",
    "../_base_/data/in1k_simmim.py",
    "../_base_/schedule/adamw_simmim.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=128, dataset=dict(transform=dict(size=192)))
optim_wrapper = dict(
    accumulative_counts=2, paramwise_cfg=dict(no_decay_names=("mask_token", "relative_position_bias_table"))
)
