"""I-JEPA, ViT-B/16, 600 epochs on ImageNet-1K.

Aims at: linear probe 72.9 on the mean of the patch tokens (arXiv 2301.08243, table 1). Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048. What is transferred is the teacher, `encoder` in the checkpoint; it has no class
token: `model_kwargs=dict(class_token=False)` in the backbone.
"""
_base_ = [
    "../_base_/model/ijepa_vit-base.py",
    "../_base_/data/in1k.py",
    "../_base_/schedule/adamw_ijepa.py",
    "../_base_/pretrain_runtime.py",
]
# Crops of at least 30 %, bilinear, no flips (released configs).
transform = dict(scale=(0.3, 1.0), flip=0.0, interpolation="bilinear")
train_dataloader = dict(batch_size=256, dataset=dict(transform=transform))
