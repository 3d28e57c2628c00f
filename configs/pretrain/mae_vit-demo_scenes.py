"""MAE on the unlabelled embedded scenes: the pretraining of `make demo`, minutes on 2 CPU cores.

Command: python tools/pretrain.py CONFIG
"""
_base_ = [
    "../_base_/model/vit-demo.py",
    "../_base_/data/folder.py",
    "../_base_/schedule/adamw_mae.py",
    "../_base_/pretrain_runtime.py",
]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    type="MAE",
    encoder=_base_.vit,
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=64, depth=1, num_heads=2),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
# Small batches: in minutes the number of updates decides. 64 at lr 2e-3 end where 16 are after half of the epochs.
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(root="data/scenes/unlabelled", transform=dict(size=64, scale=(0.5, 1.0))),
)
train_cfg = dict(max_epochs=10)
# No rule covers so small a model and so short a run.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=10, warmup=1, start_factor=1e-3)
