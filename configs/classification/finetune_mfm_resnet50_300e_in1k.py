"""Fine-tuning of MFM, ResNet-50, 300 epochs on ImageNet-1K: procedure A2 of "ResNet strikes back".

Aims at   80.1 from 300 epochs (README of Jiahao000/MFM)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 256 = 2048, lr 5e-3
Time      not yet run

The README names timm and 300 epochs, and no config. Left out of A2 (arXiv 2110.00476, table 2): repeated augmentation.
"""
_base_ = "./finetune_mfm_resnet50_100e_in1k.py"
from mimtransfer.training.recipes import timm_augment, warmup_cosine

protocol = "fine-tuning of MFM, ResNet-50, 300 epochs, ImageNet-1k"
model = dict(backbone=dict(drop_path_rate=0.05))
train_dataloader = dict(dataset=dict(transform=timm_augment(224, "rand-m7-mstd0.5-inc1")))
train_cfg = dict(max_epochs=300)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
param_scheduler = warmup_cosine(epochs=300, warmup=5, start_factor=1e-4 / 5e-3, eta_min_ratio=1e-6 / 5e-3)
