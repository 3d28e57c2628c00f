"""MAE with ViT-B/16: decoder of 8 blocks, width 512 (arXiv 2111.06377, sec. 4); normalised pixels."""
model = dict(
    type="MAE",
    encoder=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    decoder=dict(embed_dim=512, depth=8, num_heads=16),
    norm_pix_loss=True,
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
