"""k-means on features of our own MAE on CIFAR-10: pretrain mae_vit-tiny-p4_10e_cifar10.py first, download nothing.

Data: class folders of image files in data/cifar10/train, as for the MAE.
Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_cifar10.py
"""
_base_ = ["../_base_/data/folder.py"]
features = dict(type="CheckpointFeatures", checkpoint="work_dirs/mae_vit-tiny-p4_10e_cifar10/epoch_10.pth")
kmeans = dict(num_codes=512, patches_per_code=200, patches_per_image=16, epochs=5, batch_size=4096)
train_dataloader = dict(
    num_workers=1, dataset=dict(root="data/cifar10/train", num_images=10000, transform=dict(size=32, scale=(0.2, 1.0)))
)
view = dict(type="ResizeWhole", size=32)  # for --ids
