"""MaPeT, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images; codes by k-means on our own MAE.

Data and schedule as mae_vit-tiny-p4_10e_cifar10.py, which is run first.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_cifar10.py, then python tools/pretrain.py CONFIG.
Not yet run.
"""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(
    _delete_=True,
    type="MaPeT",
    encoder=_base_.model.encoder,
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="KMeansTokenizer", codebook="work_dirs/kmeans-mae_cifar10/codebook.pth"),
    data_preprocessor=_base_.model.data_preprocessor,
)
