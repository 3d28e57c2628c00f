"""MFM so small that a CPU does an epoch in seconds: for tests, and to try out an idea. Any folder of images will do.

Command:
    python tools/pretrain.py configs/debug/mfm_vit-debug_2e_folder.py --cfg-options train_dataloader.dataset.root=FOLDER
"""
_base_ = ["mae_vit-debug_2e_folder.py"]
model = dict(
    _delete_=True,
    type="MFM",
    encoder=dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
    ),
    corruption=dict(type="FrequencyMasking", radius=16 * 32 / 224),
    data_preprocessor=_base_.model.data_preprocessor,
)
