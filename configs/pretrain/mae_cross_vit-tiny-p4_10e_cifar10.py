"""MAE with the cross-attention decoder, ViT-Ti with patches of 4 pixels, 10 epochs of 10,000 CIFAR-10 images: 75 %
masked, 25 % predicted.

Data and command as of mae_vit-tiny-p4_10e_cifar10.py. Not yet run here.
"""
_base_ = ["./mae_vit-tiny-p4_10e_cifar10.py"]
model = dict(decoder=dict(type="CrossDecoder", depth=4, predict_ratio=0.25))
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="CrossMAE")]
