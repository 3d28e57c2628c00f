"""MAE, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images: the baseline of the masking study.

Data: class folders of image files in data/cifar10/train; every fifth image, the same number of each class.
Command: TIMM_FUSED_ATTN=0 python tools/pretrain.py CONFIG --amp (on a CPU, bf16 attention is faster unfused).
Measured: docs/results/masking-cifar10.md. About 5 minutes on one core with AMX.
"""
_base_ = ["../_base_/data/folder.py", "../_base_/schedule/adamw_mae.py", "../_base_/pretrain_runtime.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    type="MAE",
    encoder=dict(
        type="mimtransfer.TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=4, pos_embed="sincos"
    ),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=96, depth=2, num_heads=3),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(root="data/cifar10/train", num_images=10000, transform=dict(size=32, scale=(0.2, 1.0))),
)
train_cfg = dict(max_epochs=10)
# No published rule covers so short a run.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=10, warmup=1, start_factor=1e-3)
