"""BEiT so small that a CPU does an epoch in seconds; codes and command as mapet_vit-debug_2e_folder.py."""
_base_ = ["mapet_vit-debug_2e_folder.py"]
model = dict(type="BEiT", strategy=dict(_delete_=True, type="BlockMasking", mask_ratio=0.375, area=(0.1, 0.375)))
