"""SimMIM on CamVid and BCCD; data and schedule as mae_vit-tiny_20e_camvid-bccd.py. Not yet run."""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    _delete_=True,
    type="SimMIM",
    encoder=_base_.model.encoder,
    strategy=dict(type="RandomMasking", mask_ratio=30 / 49, unit=2),
    data_preprocessor=_base_.model.data_preprocessor,
)
