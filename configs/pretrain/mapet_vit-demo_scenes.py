"""MaPeT on the unlabelled embedded scenes, codes by k-means on pixels; schedule and data as mae_vit-demo_scenes.py.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-pixels_scenes.py, then python tools/pretrain.py CONFIG
Codes of our own MAE instead: configs/tokenizer/kmeans-mae_scenes.py.
"""
_base_ = ["mae_vit-demo_scenes.py"]
model = dict(
    _delete_=True,
    type="MaPeT",
    encoder=_base_.vit,
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="KMeansTokenizer", codebook="work_dirs/kmeans-pixels_scenes/codebook.pth"),
    data_preprocessor=_base_.model.data_preprocessor,
)
