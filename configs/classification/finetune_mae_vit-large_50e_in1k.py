"""Fine-tuning of MAE, ViT-L/16, 50 epochs on ImageNet-1K.

Aims at   MAE (FINETUNE.md): 85.9 +- 0.1 from 1600 epochs
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 64 x accumulation 2 = 1024, so lr 1e-3 * 1024 / 256 = 4e-3
Time      8 h 52 min on 32 V100 (official); here not yet run
"""
_base_ = "./finetune_mae_vit-base_100e_in1k.py"
from mimtransfer.training.recipes import warmup_cosine

protocol = "fine-tuning of MAE, ViT-L, 50 epochs, ImageNet-1k"
model = dict(backbone=dict(arch="vit_large_patch16_224", drop_path_rate=0.2))
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75), accumulative_counts=2)
param_scheduler = warmup_cosine(epochs=50, warmup=5, eta_min_ratio=2.5e-4)
