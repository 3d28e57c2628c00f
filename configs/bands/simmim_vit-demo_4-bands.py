"""SimMIM on scenes of four channels; data as mae_vit-demo_4-bands.py.

Command: python tools/pretrain.py CONFIG
"""
_base_ = ["mae_vit-demo_4-bands.py"]
model = dict(
    _delete_=True,
    type="SimMIM",
    encoder=_base_.vit,
    # 60 % of cells of 2 x 2 patches, as published for patches of 16 pixels.
    strategy=dict(type="RandomMasking", mask_ratio=0.6, unit=2),
    data_preprocessor=_base_.model.data_preprocessor,
)
