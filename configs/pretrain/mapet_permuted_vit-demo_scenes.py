"""Permuted prediction without auxiliary positions on the embedded scenes; all else as mapet_vit-demo_scenes.py.

Command: after fitting the codes, python tools/pretrain.py CONFIG
"""
_base_ = ["mapet_vit-demo_scenes.py"]
model = dict(auxiliary=False)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MaPeT, permuted only")]
