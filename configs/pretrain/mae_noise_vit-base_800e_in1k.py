"""MAE with green-noise masks (ColorMAE-G, ECCV 2024, arXiv 2407.13036), ViT-B/16, 800 epochs on ImageNet-1K.

Aims at: fine-tuning 83.61, ADE20K 49.18 mIoU, COCO box AP 49.50 (README of their repository); after 300 epochs 83.01,
45.80 and 48.70.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 128 x accumulation 4 = 4096. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
model = dict(strategy=dict(type="NoiseMasking", mask_ratio=0.75))
