"""MFM, ViT-B/16, 300 epochs on ImageNet-1K.

Aims at: fine-tuning 83.1 after 100 epochs (arXiv 2206.07706, README of the released code). Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048 (released: 16 GPUs x 128), so lr 3e-4 * 2048 / 512 = 1.2e-3.
"""
_base_ = [
    "../_base_/model/mfm_vit-base.py",
    "../_base_/data/in1k.py",
    "../_base_/schedule/adamw_mfm.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=256)
