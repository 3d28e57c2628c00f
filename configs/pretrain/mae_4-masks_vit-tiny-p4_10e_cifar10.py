"""MAE with 4 masks of each image in a step; all else as mae_vit-tiny-p4_10e_cifar10.py, which names the command.

An epoch takes nearly 4 times as long; `train_cfg.max_epochs` and the schedule decide what is compared. Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(masks_per_image=4)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MAE, 4 masks")]
