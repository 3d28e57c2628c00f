"""SimMIM on CamVid and BCCD; data and schedule as mae_vit-tiny_20e_camvid-bccd.py. Not yet run."""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    _delete_=True,
    type="SimMIM",
    encoder=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=224, pos_embed="sincos"),
    strategy=dict(type="RandomMasking", mask_ratio=30 / 49, unit=2),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
