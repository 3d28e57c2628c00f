"""MFM, ResNet-50 with its last stages dilated (stride 8), 10 epochs of 10,000 CIFAR-10 images.

Data: class folders of image files in data/cifar10/train; every fifth image, the same number of each class.
Command: python tools/pretrain.py CONFIG --amp
Not yet run.
"""
_base_ = [
    "../_base_/model/mfm_resnet50.py",
    "../_base_/data/folder.py",
    "../_base_/schedule/adamw_mfm.py",
    "../_base_/pretrain_runtime.py",
]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    encoder=dict(img_size=32, model_kwargs=dict(output_stride=8)),
    corruption=dict(radius=16 * 32 / 224),  # the published share of the spectrum
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(root="data/cifar10/train", num_images=10000, transform=dict(size=32, scale=(0.2, 1.0))),
)
train_cfg = dict(max_epochs=10)
# No published rule covers so short a run.
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = warmup_cosine(epochs=10, warmup=1, start_factor=1e-3)
