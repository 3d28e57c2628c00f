"""ImageNet-1K (ILSVRC 2012), `data/imagenet/{train,val}` as class folders: for frozen features of the middle square.

The labelled images that probes and k-NN learn from are `test_cfg.memory_dataloader`.
"""
transform = [
    dict(type="Resize", size=256, interpolation="bicubic"),  # 224 / 0.875
    dict(type="CenterCrop", size=224),
]
test_cfg = dict(
    memory_dataloader=dict(
        batch_size=256,
        num_workers=8,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        collate_fn=dict(type="default_collate"),
        dataset=dict(type="ClassFolder", root="data/imagenet/train", transform=transform),
    )
)
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/imagenet/val", transform=transform),
)
