"""MaPeT with ViT-B/16 as released: 49 of 196 patches visible, the others predicted in random order; 8192 codes of
k-CLIP, stored for the middle of each image.
"""
model = dict(
    type="MaPeT",
    encoder=dict(
        type="TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,
        pos_embed="learned",
        layer_scale=0.1,
        drop_path_rate=0.1,
    ),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="StoredTokens", path="work_dirs/k-clip_in1k/ids"),
    num_codes=8192,
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
