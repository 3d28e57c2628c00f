"""MFM's sibling super-resolution, images 8 times smaller, ViT-B/16, 300 epochs on ImageNet-1K; all frequencies
are predicted, else as mfm_vit-base_300e_in1k.py, which names the command.

Aims at: fine-tuning 82.4 after 100 epochs (README of the released code). Not yet run here.
"""
_base_ = ["mfm_vit-base_300e_in1k.py"]
model = dict(corruption=dict(_delete_=True, type="SuperResolution", factor=8))
