"""MFM on scenes of four channels; data as mae_vit-demo_4-bands.py.

Command: python tools/pretrain.py CONFIG
"""
_base_ = ["../pretrain/mfm_vit-demo_scenes.py"]
in_chans = 4
model = dict(
    data_preprocessor=dict(_delete_=True, type="BandPreprocessor", statistics="data/scenes/bands/statistics.json")
)
train_dataloader = dict(dataset=dict(root="data/scenes/bands/unlabelled", decoder="bands"))
