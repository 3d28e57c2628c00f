"""MAE so small that a CPU does an epoch in seconds: for tests, and to try out an idea. Any folder of images will do.

Command: python tools/pretrain.py CONFIG --cfg-options train_dataloader.dataset.root=FOLDER
"""
_base_ = ["../_base_/data/folder.py", "../_base_/schedule/adamw_mae.py", "../_base_/pretrain_runtime.py"]
model = dict(
    type="MAE",
    encoder=dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        pos_embed="sincos",
        model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
    ),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=32, depth=1, num_heads=4),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(transform=dict(size=32)))
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=2, eta_min=0.0, begin=0, end=2, by_epoch=True, convert_to_iter_based=True)
]
default_hooks = dict(logger=dict(interval=1))
env_cfg = dict(mp_cfg=dict(mp_start_method="fork"))
