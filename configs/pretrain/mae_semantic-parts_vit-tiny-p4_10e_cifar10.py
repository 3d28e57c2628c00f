"""As mae_semantic_vit-tiny-p4_10e_cifar10.py, but whole parts are shown: its first simpler baseline."""
_base_ = ["mae_semantic_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(regions="parts"))
custom_hooks = [
    hook if hook.type != "RecordHook" else dict(type="RecordHook", label="MAE + Semantic, parts")
    for hook in _base_.custom_hooks
]
