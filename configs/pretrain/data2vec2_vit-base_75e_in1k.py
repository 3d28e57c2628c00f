"""data2vec 2.0, ViT-B/16, 16 masks of each image, on ImageNet-1K: the released config v2/base_images_only_task.yaml.

Aims at: its 375,300 steps of 256 images, which are 75 epochs (arXiv 2212.07525). Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 32 = 256 images, 4096 masks (released: 16 GPUs x 16). What is transferred is the student.
"""
_base_ = ["../_base_/data/in1k.py", "../_base_/schedule/adamw_mae.py", "../_base_/pretrain_runtime.py"]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    type="Data2Vec2",
    encoder=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos", post_norm=True),
    # 39 of 196 patches stay visible: 5 squares of 3 x 3, then single ones.
    strategy=dict(type="BlockMasking", mask_ratio=157 / 196, blocks="visible", area=(9 / 196, 9 / 196), min_aspect=1.0,
                  num_blocks=5),
    decoder=dict(embed_dim=768, depth=6, kernel=3, groups=16),
    top_blocks=10,
    cls_weight=0.01 * 16 * 16,  # there 0.01 of a sum over 16 masks of 16 images
    masks_per_image=16,
    momentum=(0.9998, 0.99999),
    momentum_end=100000 / 375300,
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=75)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=4.0))
param_scheduler = warmup_cosine(epochs=75, warmup=10)
