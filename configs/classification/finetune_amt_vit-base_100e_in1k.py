"""Fine-tuning of AMT and FAMT, ViT-B/16, 100 epochs on ImageNet-1K (their released scripts).

Aims at   better than MAE (arXiv 2211.15362); no number is published that we could read
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 = 1024, so lr 1e-3 * 1024 / 256 = 4e-3
Time      not yet run
"""
_base_ = "./finetune_mae_vit-base_100e_in1k.py"
protocol = "fine-tuning of AMT, 100 epochs, ImageNet-1k"
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.75))
