"""MaPeT so small that a CPU does an epoch in seconds: for tests, and to try out an idea. Any folder of images will do.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-pixels_scenes.py, then python tools/pretrain.py CONFIG,
    both with --cfg-options train_dataloader.dataset.root=FOLDER
"""
_base_ = ["mae_vit-debug_2e_folder.py"]
model = dict(
    _delete_=True,
    type="MaPeT",
    encoder=dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
    ),
    # auxiliary=False tries out permuted prediction, type="BEiT" masked prediction.
    strategy=dict(type="RandomMasking", mask_ratio=0.75),
    tokenizer=dict(type="KMeansTokenizer", codebook="work_dirs/kmeans-pixels_scenes/codebook.pth"),
    data_preprocessor=_base_.model.data_preprocessor,
)
