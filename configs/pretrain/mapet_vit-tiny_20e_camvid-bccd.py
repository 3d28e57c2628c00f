"""MaPeT on CamVid and BCCD, codes by k-means on our own MAE; data and schedule as mae_vit-tiny_20e_camvid-bccd.py.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_camvid-bccd.py,
    then python tools/pretrain.py CONFIG. Not yet run.
"""
_base_ = ["mae_vit-tiny_20e_camvid-bccd.py"]
model = dict(
    _delete_=True,
    type="MaPeT",
    encoder=_base_.model.encoder,
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="KMeansTokenizer", codebook="work_dirs/kmeans-mae_camvid-bccd/codebook.pth"),
    data_preprocessor=_base_.model.data_preprocessor,
)
