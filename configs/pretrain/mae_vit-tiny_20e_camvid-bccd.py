"""MAE, ViT-Ti/16, 20 epochs on the training pictures of CamVid and BCCD together: real pictures on 2 CPU cores.

Command: python tools/pretrain.py CONFIG
Data: data/camvid/images/train (367 street scenes) and data/bccd/train (205 blood smears); no picture of a test set.
Expected: some minutes on 2 cores; figures in docs/results/real-pictures.md.
"""
_base_ = ["../_base_/data/folder.py", "../_base_/schedule/adamw_mae.py", "../_base_/pretrain_runtime.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    type="MAE",
    encoder=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=224, pos_embed="sincos"),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=96, depth=1, num_heads=3),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(root=["data/camvid/images/train", "data/bccd/train"], transform=dict(size=224)),
)
train_cfg = dict(max_epochs=20)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
# No rule covers so short a run of so small a model.
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=20, warmup=1, start_factor=1e-3)
default_hooks = dict(logger=dict(interval=17))
