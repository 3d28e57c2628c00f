"""As mae_amt_vit-tiny-p4_10e_cifar10.py, but maps are cropped as in the released code: always the top left corner."""
_base_ = ["mae_amt_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(legacy_crop=True))
custom_hooks = [
    hook if hook.type != "RecordHook" else dict(type="RecordHook", label="MAE + AMT, legacy crop")
    for hook in _base_.custom_hooks
]
