"""Fine-tuning of MFM and its siblings, ViT-B/16, 100 epochs on ImageNet-1K (released config).

Aims at   MFM 83.1, denoising 82.7, super-resolution 82.4, deblurring 81.7 from 300 epochs (README of Jiahao000/MFM)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 x accumulation 2 = 2048, so lr 2e-3 * 2048 / 512 = 8e-3
Time      not yet run

The cosine begins where the warm-up ends; the released one began at epoch 0, so that its lr is a little lower then.
"""
_base_ = "./finetune_mae_vit-base_100e_in1k.py"
from mimtransfer.training.recipes import warmup_cosine

protocol = "fine-tuning of MFM, 100 epochs, ImageNet-1k"
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.8), accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = warmup_cosine(epochs=100, warmup=5, start_factor=2.5e-7 / 2e-3, eta_min_ratio=2.5e-7 / 2e-3)
