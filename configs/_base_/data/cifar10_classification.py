"""CIFAR-10 as class folders of pictures of 32 x 32: `data/cifar10/{train,test}/{airplane,automobile,...}/*`.

The memory of k-NN is a class-balanced 10,000 of the 50,000 training images;
`test_cfg.memory_dataloader.dataset.num_images=None` takes all.
"""
test_cfg = dict(
    memory_dataloader=dict(
        batch_size=100,
        num_workers=1,
        sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="ClassFolder",
            root="data/cifar10/train",
            transform=[dict(type="Resize", size=(32, 32), interpolation="bicubic")],  # leaves 32 x 32 as it is
            num_images=10000,
        ),
    )
)
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="ClassFolder",
        root="data/cifar10/test",
        transform=[dict(type="Resize", size=(32, 32), interpolation="bicubic")],
    ),
)
