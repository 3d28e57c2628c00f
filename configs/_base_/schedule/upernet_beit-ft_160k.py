"""BEiT's schedule on ADE20K for a checkpoint fine-tuned on ImageNet before: a low lr, hardly less in early layers.

BEiT's code compares whole names, so its tables of relative positions and its class token are decayed.
"""
_base_ = "./upernet_160k.py"
optim_wrapper = dict(optimizer=dict(lr=3e-5), paramwise_cfg=dict(layer_decay_rate=0.9, no_decay_names=()))
