"""MFM on the unlabelled embedded scenes; schedule and data as mae_vit-demo_scenes.py.

Command: python tools/pretrain.py CONFIG
"""
_base_ = ["mae_vit-demo_scenes.py"]
model = dict(
    _delete_=True,
    type="MFM",
    encoder=_base_.vit,
    # The published radius is 16 cycles in 224 pixels, a share of 1/7 of the highest frequency; the same here: 4.6.
    corruption=dict(type="FrequencyMasking", radius=16 * 64 / 224),
    data_preprocessor=_base_.model.data_preprocessor,
)
