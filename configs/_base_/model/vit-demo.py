"""The ViT of the demo. Pretraining and both transfers read it, so checkpoints fit: 1.2 M parameters, 64 patches."""
vit = dict(
    type="mimtransfer.TimmViT",
    arch="vit_tiny_patch16_224",  # made smaller by model_kwargs
    img_size=64,
    patch_size=8,
    pos_embed="sincos",
    model_kwargs=dict(depth=6, embed_dim=128, num_heads=2),
)
