"""MAE on the unlabelled embedded scenes: the pretraining of `make demo`, minutes on 2 CPU cores.

Command: python tools/pretrain.py configs/pretrain/mae_vit-demo_scenes.py
"""
_base_ = [
    "../_base_/model/vit-demo.py",
    "../_base_/data/folder.py",
    "../_base_/schedule/adamw_mae.py",
    "../_base_/pretrain_runtime.py",
]
model = dict(
    type="MAE",
    encoder=_base_.vit,
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=96, depth=2, num_heads=3),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(
    num_workers=1, dataset=dict(root="data/scenes/unlabelled", transform=dict(size=96, scale=(0.4, 1.0)))
)
max_epochs, warmup_epochs = 20, 2
train_cfg = dict(max_epochs=max_epochs)
# No rule for so small a model and so short a run: tried 0.5, 1 and 2 times 1e-3 on the scenes.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=warmup_epochs, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        eta_min=0.0,
        begin=warmup_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
