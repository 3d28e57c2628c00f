"""Fine-tuning of a ViT-Ti/4, 5 epochs of 10,000 CIFAR-10 images: within minutes of a CPU core.

Command   TIMM_FUSED_ATTN=0 python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md); every fifth training image
Score     not yet run; no time known

So short a run has crops, flips and label smoothing, no mixing. Layer decay is mild, because random initialisation is in
the same table.
"""
_base_ = [
    "../_base_/model/classifier_vit-tiny-p4.py",
    "../_base_/data/cifar10_labelled.py",
    "../_base_/schedule/finetune_mae.py",
    "../_base_/classification_training.py",
]
from mimtransfer.training.recipes import warmup_cosine

protocol = "fine-tuning, CIFAR-10, 5 epochs of 10000"
train_dataloader = dict(batch_size=64, dataset=dict(num_images=10000))
train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.9), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=5, warmup=1, start_factor=1e-3, eta_min_ratio=0.0)
