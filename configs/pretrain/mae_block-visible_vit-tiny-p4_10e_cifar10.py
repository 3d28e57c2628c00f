"""MAE that sees rectangles; else as mae_vit-tiny-p4_10e_cifar10.py. Second simpler baseline of semantic masking."""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(type="BlockMasking", blocks="visible"))
custom_hooks = [
    hook if hook.type != "RecordHook" else dict(type="RecordHook", label="MAE + visible blocks")
    for hook in _base_.custom_hooks
]
