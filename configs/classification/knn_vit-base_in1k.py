"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-B/16, ImageNet-1k.

Command   torchrun --nproc_per_node=8 tools/test.py configs/classification/knn_vit-base_in1k.py --launcher pytorch \
              --amp --pretrained work_dirs/CKPT
Data      data/imagenet/{train,val} as class folders
Time      not yet run
Score     k-NN top-1: not yet run
"""
_base_ = "../_base_/classification_runtime.py"
protocol = "k-NN, ImageNet-1k"

transform = [
    dict(type="Resize", size=256, interpolation="bicubic"),  # 224 / 0.875
    dict(type="CenterCrop", size=224),
]
model = dict(
    type="FrozenFeatures",
    backbone=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    pooling="mean",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
test_cfg = dict(
    type="KNNLoop",
    memory_dataloader=dict(
        batch_size=256,
        num_workers=8,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        collate_fn=dict(type="default_collate"),
        dataset=dict(type="ClassFolder", root="data/imagenet/train", transform=transform),
    ),
    k=20,
    temperature=0.07,
)
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/imagenet/val", transform=transform),
)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
