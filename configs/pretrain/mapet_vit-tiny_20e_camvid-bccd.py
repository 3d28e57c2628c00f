"""MaPeT on CamVid and BCCD, codes by k-means on our own MAE; data and schedule as mae_vit-tiny_20e_camvid-bccd.py.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_camvid-bccd.py, then
    python tools/pretrain.py CONFIG. Not yet run.
"""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    _delete_=True,
    type="MaPeT",
    encoder=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=224, pos_embed="sincos"),
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="KMeansTokenizer", codebook="work_dirs/kmeans-mae_camvid-bccd/codebook.pth"),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
