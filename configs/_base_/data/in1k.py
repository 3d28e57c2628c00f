"""ImageNet-1K (ILSVRC 2012) for pretraining: 1,281,167 images under `train/`, labels not used; MAE's augmentation.

Crops of at least 20 % of the image, bicubic, flips (arXiv 2111.06377, table 8). The leaf sets the batch of its recipe.
"""
_base_ = ["folder.py"]
train_dataloader = dict(num_workers=10, pin_memory=True, dataset=dict(root="data/imagenet/train"))
