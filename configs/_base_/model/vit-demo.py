"""The ViT of the demo. Pretraining and both transfers read it, so checkpoints fit: 2.7 M parameters, 144 patches."""
vit = dict(
    type="mimtransfer.TimmViT",
    arch="vit_tiny_patch16_224",  # width 192, 3 heads
    img_size=96,
    patch_size=8,
    pos_embed="sincos",
    model_kwargs=dict(depth=6),
)
