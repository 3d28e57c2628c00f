"""MAE with green-noise masks (ColorMAE); else as mae_vit-tiny-p4_10e_cifar10.py."""
_base_ = ["mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(strategy=dict(type="NoiseMasking"))
