"""Super-resolution x8 by MFM, ResNet-50, 300 epochs on ImageNet-1K; all frequencies are
predicted, else as mfm_resnet50_300e_in1k.py, which names the command.

Aims at: fine-tuning 77.9 after 100 epochs (README of the released code). Not yet run here.
"""
_base_ = ["mfm_resnet50_300e_in1k.py"]
model = dict(corruption=dict(_delete_=True, type="SuperResolution", factor=8))
