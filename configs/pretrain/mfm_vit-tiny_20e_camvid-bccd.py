"""MFM on CamVid and BCCD, the published filter; data and schedule as mae_vit-tiny_20e_camvid-bccd.py. Not yet run."""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    _delete_=True,
    type="MFM",
    encoder=_base_.model.encoder,
    corruption=dict(type="FrequencyMasking", radius=16),
    data_preprocessor=_base_.model.data_preprocessor,
)
