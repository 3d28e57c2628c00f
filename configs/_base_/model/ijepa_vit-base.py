"""I-JEPA with ViT-B/16 (arXiv 2301.08243): predictor of 6 blocks, width 384; 4 target blocks of an image."""
model = dict(
    type="IJEPA",
    encoder=dict(
        type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos",
        model_kwargs=dict(class_token=False),
    ),
    # As large as the released blocks are on average, see pretrain/masking/multi_block.py.
    strategy=dict(type="MultiBlockMasking", mask_ratio=33 / 196, throw_ratio=112 / 196),
    predictor=dict(embed_dim=384, depth=6),
    masks_per_image=4,
    momentum=(0.996, 1.0),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
