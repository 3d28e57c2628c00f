"""ImageNet-1K for SimMIM: crops of at least 67 % of the image, bilinear, flips (arXiv 2111.09886 and its code)."""
_base_ = ["in1k.py"]
train_dataloader = dict(dataset=dict(transform=dict(scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), interpolation="bilinear")))
