"""MAE, ViT-B/16, 800 epochs on ImageNet-1K.

Aims at: fine-tuning 83.3, linear probe 65.1 (mmpretrain's re-run of MAE at 800 epochs); 1600 epochs: 83.6 and
68.0 (arXiv 2111.06377).
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = [
    "../_base_/model/mae_vit-base.py",
    "../_base_/data/in1k.py",
    "../_base_/schedule/adamw_mae.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(accumulative_counts=4)
