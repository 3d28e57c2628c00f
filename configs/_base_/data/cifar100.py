"""CIFAR-100's 50,000 training images of 32 x 32, from the published binaries in `data/cifar100/cifar-100-python/`.

To fetch them: `--cfg-options train_dataloader.dataset.download=True`. As files in a folder: `folder.py` with size 32.
"""
_base_ = ["cifar10.py"]
train_dataloader = dict(dataset=dict(type="CIFAR100", root="data/cifar100"))
