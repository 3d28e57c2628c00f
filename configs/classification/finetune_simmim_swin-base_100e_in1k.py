"""Fine-tuning of SimMIM, Swin-B, window 7, 100 epochs on ImageNet-1K at 224 pixels.

Aims at   84.0 from 800 epochs at 192 pixels, 83.5 from 100 (README of microsoft/SimMIM)
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 x accumulation 2 = 2048, so lr 1.25e-3 * 2048 / 512 = 5e-3
Time      not yet run
"""
_base_ = "./finetune_simmim_vit-base_100e_in1k.py"
protocol = "fine-tuning of SimMIM, Swin-B, 100 epochs, ImageNet-1k"
model = dict(
    backbone=dict(
        _delete_=True, type="TimmSwin", arch="swin_base_patch4_window7_224", img_size=224, drop_path_rate=0.1
    ),
    norm=None,  # Swin has its norm before the pooling
    head_std=0.02,
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
