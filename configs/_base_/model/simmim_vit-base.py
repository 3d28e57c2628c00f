"""SimMIM with ViT-B/16 (arXiv 2111.09886): 30 of the 49 cells of 32 x 32 pixels masked, linear head, L1.

The official count is ceil(0.6 * 49) = 30; 0.6 here would give floor(29.4) = 29. Positions are learned and absolute, as
in AMT's SimMIM; official SimMIM has a shared relative position bias instead.
"""
model = dict(
    type="SimMIM",
    encoder=dict(
        type="TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,
        pos_embed="learned",
        layer_scale=0.1,
        drop_path_rate=0.1,
    ),
    strategy=dict(type="RandomMasking", mask_ratio=30 / 49, unit=2),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
