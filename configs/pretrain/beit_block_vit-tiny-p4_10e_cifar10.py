"""BEiT with rectangles over 38 % of the patches; all else, and the command, as mapet_vit-tiny-p4_10e_cifar10.py.

Not yet run.
"""
_base_ = ["mapet_vit-tiny-p4_10e_cifar10.py"]
model = dict(type="BEiT", strategy=dict(_delete_=True, type="BlockMasking", mask_ratio=75 / 196))
