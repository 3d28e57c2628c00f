"""MFM with a ResNet-50 on the unlabelled embedded scenes, minutes on one CPU core.

Command: python tools/pretrain.py CONFIG --amp
"""
_base_ = [
    "../_base_/model/mfm_resnet50.py",
    "../_base_/data/folder.py",
    "../_base_/schedule/adamw_mfm.py",
    "../_base_/pretrain_runtime.py",
]
model = dict(
    encoder=dict(img_size=64),
    corruption=dict(radius=16 * 64 / 224),  # the published share of the spectrum
)
train_dataloader = dict(
    num_workers=1, dataset=dict(root="data/scenes/unlabelled", transform=dict(size=64, scale=(0.5, 1.0)))
)
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs)
# No rule covers so short a run.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, begin=0, end=20, by_epoch=False),
    dict(
        type="CosineAnnealingLR", T_max=max_epochs, eta_min=0.0, begin=0, end=max_epochs, by_epoch=True,
        convert_to_iter_based=True,
    ),
]
