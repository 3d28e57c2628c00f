"""UperNet on scenes of four channels; else as segmentation/upernet_vit-demo_scenes.py.

Command   python tools/train.py CONFIG --pretrained work_dirs/mae_vit-demo_4-bands
Data      as mae_vit-demo_4-bands.py
"""
_base_ = ["../segmentation/upernet_vit-demo_scenes.py"]
protocol = "UperNet, scenes of 4 bands"
in_chans = 4
load_bands = dict(type="mimtransfer.LoadBands")
train_pipeline = [load_bands, *_base_.train_pipeline[1:]]
test_pipeline = [load_bands, *_base_.test_pipeline[1:]]
model = dict(data_preprocessor=dict(statistics="data/scenes/bands/statistics.json", bgr_to_rgb=False))
train_dataloader = dict(
    dataset=dict(img_suffix=".npy", data_prefix=dict(img_path="bands/train"), pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(img_suffix=".npy", data_prefix=dict(img_path="bands/val"), pipeline=test_pipeline))
test_dataloader = val_dataloader
