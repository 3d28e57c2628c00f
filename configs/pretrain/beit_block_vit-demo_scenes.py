"""BEiT on the embedded scenes: rectangles over 38 % of the patches; all else as mapet_vit-demo_scenes.py.

Command: after fitting the codes, python tools/pretrain.py CONFIG
"""
_base_ = ["mapet_vit-demo_scenes.py"]
model = dict(type="BEiT", strategy=dict(_delete_=True, type="BlockMasking", mask_ratio=75 / 196))
