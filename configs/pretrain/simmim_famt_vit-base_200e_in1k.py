"""SimMIM with FAMT, ViT-B/16, 200 epochs on ImageNet-1K: attention times low-frequency energy decides; else as
simmim_amt_vit-base_200e_in1k.py, which names the command.

Aims at: no published number is known for SimMIM with FAMT (arXiv 2211.15362 v3). Not yet run here.
"""
_base_ = ["simmim_amt_vit-base_200e_in1k.py"]
model = dict(strategy=dict(type="FAMTMasking"))
