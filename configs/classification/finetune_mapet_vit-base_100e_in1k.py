"""Fine-tuning of MaPeT, ViT-B/16, 100 epochs on ImageNet-1K (released config).

Aims at   no number is published that we could read (arXiv 2306.07346)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 64 = 512. The released file says 512 for each process and not how many: lr 5e-4 is taken as it is
Time      not yet run
"""
_base_ = "./finetune_mae_vit-base_100e_in1k.py"
from mimtransfer.training.recipes import timm_augment, warmup_cosine

protocol = "fine-tuning of MaPeT, 100 epochs, ImageNet-1k"
model = dict(backbone=dict(layer_scale=0.1), head_std=0.02)
train_dataloader = dict(batch_size=64, dataset=dict(transform=timm_augment(224, "rand-m9-mstd0.5")))
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=100, warmup=20, start_factor=1e-6 / 5e-4, eta_min_ratio=1e-6 / 5e-4)
