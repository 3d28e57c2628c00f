"""MFM so small that a CPU does an epoch in seconds: for tests, and to try out an idea. Any folder of images will do.

Command: python tools/pretrain.py CONFIG --cfg-options train_dataloader.dataset.root=FOLDER
"""
_base_ = ["mapet_vit-debug_2e_folder.py"]
model = dict(
    _delete_=True,
    type="MFM",
    encoder=_base_.model.encoder,
    corruption=dict(type="FrequencyMasking", radius=16 * 32 / 224),
    data_preprocessor=_base_.model.data_preprocessor,
)
