"""k-means on features of our own MAE on the embedded scenes: pretrain mae_vit-demo_scenes.py first, download nothing.

Command: python tools/fit_tokenizer.py configs/tokenizer/kmeans-mae_scenes.py
"""
_base_ = ["kmeans-pixels_scenes.py"]
features = dict(_delete_=True, type="CheckpointFeatures", checkpoint="work_dirs/mae_vit-demo_scenes/epoch_10.pth")
