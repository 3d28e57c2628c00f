"""Fine-tuning of MFM, ViT-S/16, 200 epochs on ImageNet-1K (released config).

Aims at   no number is published that we could read
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 x accumulation 2 = 2048, so lr 2e-3 * 2048 / 512 = 8e-3
Time      not yet run
"""
_base_ = "./finetune_mfm_vit-base_100e_in1k.py"
from mimtransfer.training.recipes import warmup_cosine

protocol = "fine-tuning of MFM, ViT-S, 200 epochs, ImageNet-1k"
model = dict(backbone=dict(arch="vit_small_patch16_224"))
train_cfg = dict(max_epochs=200)
param_scheduler = warmup_cosine(epochs=200, warmup=5, start_factor=2.5e-7 / 2e-3, eta_min_ratio=2.5e-7 / 2e-3)
