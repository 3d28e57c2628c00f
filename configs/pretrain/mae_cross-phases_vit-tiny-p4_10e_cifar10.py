"""MAE with the cross-attention decoder and small images first, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000
CIFAR-10 images: 24 x 24 (36 patches) for 7 epochs, then 32 x 32.

Data and command as of mae_vit-tiny-p4_10e_cifar10.py. Not yet run to its end: docs/time-to-accuracy.md.
"""
_base_ = ["./mae_cross_vit-tiny-p4_10e_cifar10.py"]
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type="RecordHook", label="CrossMAE, small first"),
    dict(type="PhaseHook", phases=[dict(until=0.7, image_size=24), dict(until=1.0)]),
]
