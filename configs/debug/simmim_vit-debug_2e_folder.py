"""SimMIM so small that a CPU does an epoch in seconds: for tests, and to try out an idea. Any folder of images will do.

Command: python tools/pretrain.py CONFIG --cfg-options train_dataloader.dataset.root=FOLDER
"""
_base_ = ["mapet_vit-debug_2e_folder.py"]
model = dict(
    _delete_=True,
    type="SimMIM",
    encoder=_base_.model.encoder,
    # 3 of 4 cells, each of 2 x 2 patches; throw_ratio=0.25 with mask_ratio=0.5 tries out throwing.
    strategy=dict(type="RandomMasking", mask_ratio=0.75, unit=2),
    data_preprocessor=_base_.model.data_preprocessor,
)
