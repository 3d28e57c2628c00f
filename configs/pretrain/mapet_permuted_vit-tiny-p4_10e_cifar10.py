"""Permuted prediction without auxiliary positions; all else, and the command, as mapet_vit-tiny-p4_10e_cifar10.py.

Not yet run.
"""
_base_ = ["mapet_vit-tiny-p4_10e_cifar10.py"]
model = dict(auxiliary=False)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MaPeT, permuted only")]
