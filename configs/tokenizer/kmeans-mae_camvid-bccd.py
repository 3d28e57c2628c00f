"""k-means on features of our own MAE on CamVid and BCCD, which mae_vit-tiny_20e_camvid-bccd.py pretrains.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_camvid-bccd.py
"""
_base_ = ["../_base_/data/folder.py"]
features = dict(type="CheckpointFeatures", checkpoint="work_dirs/mae_vit-tiny_20e_camvid-bccd/epoch_20.pth")
kmeans = dict(num_codes=256, patches_per_code=200, patches_per_image=98, epochs=5, batch_size=2048)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(root=["data/camvid/images/train", "data/bccd/train"], transform=dict(size=224)),
)
view = dict(type="ResizeWhole", size=224)  # for --ids
