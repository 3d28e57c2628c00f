"""MAE on scenes of four channels; else as pretrain/mae_vit-demo_scenes.py. Other numbers: --cfg-options in_chans=N.

Command   python tools/pretrain.py CONFIG
Data      python tools/make_scenes.py --bands 4
          python tools/dataset_stats.py data/scenes/bands/unlabelled --out data/scenes/bands/statistics.json
"""
_base_ = ["../pretrain/mae_vit-demo_scenes.py"]
in_chans = 4
model = dict(
    data_preprocessor=dict(_delete_=True, type="BandPreprocessor", statistics="data/scenes/bands/statistics.json")
)
train_dataloader = dict(dataset=dict(root="data/scenes/bands/unlabelled", decoder="bands"))
