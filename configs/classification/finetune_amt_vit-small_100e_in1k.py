"""Fine-tuning of FAMT, ViT-S/16, 100 epochs on ImageNet-1K, with the settings of ViT-B.

Aims at   80.4 with FAMT, 80.6 with its masking alone, from 800 epochs (log of a single run)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 = 1024, so lr 1e-3 * 1024 / 256 = 4e-3
Time      not yet run
"""
_base_ = "./finetune_amt_vit-base_100e_in1k.py"
protocol = "fine-tuning of AMT, ViT-S, 100 epochs, ImageNet-1k"
model = dict(backbone=dict(arch="vit_small_patch16_224"))
