"""Fine-tuning of MaPeT, ViT-Ti/16, 300 epochs on ImageNet-1K (released config, no layer decay).

Aims at   no number is published that we could read (arXiv 2306.07346)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 64 = 512. The released file says 512 for each process and not how many: lr 2.5e-4 is taken as it is
Time      not yet run
"""
_base_ = "./finetune_mapet_vit-base_100e_in1k.py"
from mimtransfer.training.recipes import warmup_cosine

protocol = "fine-tuning of MaPeT, ViT-Ti, 300 epochs, ImageNet-1k"
model = dict(backbone=dict(arch="vit_tiny_patch16_224"))
train_cfg = dict(max_epochs=300)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = warmup_cosine(epochs=300, warmup=20, start_factor=1e-6 / 2.5e-4, eta_min_ratio=1e-6 / 2.5e-4)
