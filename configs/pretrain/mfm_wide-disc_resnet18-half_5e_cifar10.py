"""MFM with a wide disc and all frequencies in the loss, a ResNet of four blocks and half the channels (1.2 M
parameters, stride 8), 5 epochs of 10,000 CIFAR-10 images; else as mfm_wide-disc_vit-tiny-p8_5e_cifar10.py.

Command: python tools/pretrain.py CONFIG --amp
Not yet run at this length.
"""
_base_ = ["mfm_wide-disc_vit-tiny-p8_5e_cifar10.py"]
model = dict(
    encoder=dict(
        _delete_=True,
        type="TimmCNN",
        arch="resnet18",
        img_size=32,
        model_kwargs=dict(layers=(1, 1, 1, 1), channels=(32, 64, 128, 256), output_stride=8),
    )
)
