"""MAE with 4 masks of each image in a step, ViT-B/16, 200 epochs on ImageNet-1K: as many masks as 800 epochs of one.

The image is decoded, augmented and embedded once for its masks (arXiv 2212.07525, sec. 3.3: 16 masks in data2vec 2.0).
Aims at: no published number; mae_vit-base_800e_in1k.py with a quarter of the decoding.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 64 x accumulation 2 = 1024 images, 4096 masks; lr counts images. Not yet run here.
"""
_base_ = ["./mae_vit-base_800e_in1k.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(masks_per_image=4)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=2)
train_cfg = dict(max_epochs=200)
param_scheduler = warmup_cosine(epochs=200, warmup=10)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MAE, 4 masks")]
