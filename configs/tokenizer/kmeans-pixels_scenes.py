"""k-means on the pixels of 8 x 8 patches of the embedded scenes: no model and no download, seconds.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-pixels_scenes.py
"""
_base_ = ["../_base_/data/folder.py"]
features = dict(type="PixelFeatures", patch_size=8)
kmeans = dict(num_codes=256, patches_per_code=200, patches_per_image=16, epochs=5, batch_size=2048)
# Fitted on the very crops that mapet_vit-demo_scenes.py shows.
train_dataloader = dict(
    num_workers=1, dataset=dict(root="data/scenes/unlabelled", transform=dict(size=64, scale=(0.5, 1.0)))
)
view = dict(type="ResizeWhole", size=64)  # for --ids
