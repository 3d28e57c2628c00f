"""Pipelines of mmdet that config files call by name, told by the size of the image; nothing heavy is imported."""


def lsj_pipelines(image_size: tuple[int, int]) -> tuple[list[dict], list[dict]]:
    """Return `train_pipeline, test_pipeline` with large-scale jitter (arXiv 2203.16527, app. A.2).

    Training flips, scales by 0.1 to 2 of `image_size` and crops to it; testing scales to fit it.

    Args:
        image_size: width and height in pixels.
    """
    load = dict(type="LoadImageFromFile", backend_args=None)
    annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
    train: list[dict] = [
        load,
        annotations,
        dict(type="RandomFlip", prob=0.5),
        dict(type="RandomResize", scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
        dict(type="RandomCrop", crop_type="absolute_range", crop_size=image_size, recompute_bbox=True,
             allow_negative_crop=True),
        dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
        dict(type="PackDetInputs"),
    ]
    return train, detection_test_pipeline(image_size, load, annotations)


def box_pipelines(image_size: tuple[int, int], ratio_range: tuple[float, float]) -> tuple[list[dict], list[dict]]:
    """Return `train_pipeline, test_pipeline` for boxes in images without an upright orientation.

    Training scales by `ratio_range` of `image_size`, crops to it and flips in all directions.

    Args:
        image_size: width and height in pixels.
    """
    load = dict(type="LoadImageFromFile")
    annotations = dict(type="LoadAnnotations", with_bbox=True)
    train: list[dict] = [
        load,
        annotations,
        dict(type="RandomResize", scale=image_size, ratio_range=ratio_range, keep_ratio=True),
        dict(type="RandomCrop", crop_size=image_size, recompute_bbox=True),
        dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
        dict(type="PackDetInputs"),
    ]
    return train, detection_test_pipeline(image_size, load, annotations)


def detection_test_pipeline(image_size: tuple[int, int], load: dict, annotations: dict) -> list[dict]:
    """Return mmdet's test pipeline: the image is scaled to fit `image_size`, its annotations keep their own size."""
    return [
        load,
        dict(type="Resize", scale=image_size, keep_ratio=True),
        annotations,
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
    ]


def timm_augment(image_size: int, policy: str = "rand-m9-mstd0.5-inc1") -> list[dict]:
    """Return the training transform of DeiT, MAE and their followers: timm's RandAugment, bicubic.

    Args:
        image_size: side in pixels.
        policy: timm's name of it.
    """
    return [dict(type="TimmAugment", input_size=image_size, auto_augment=policy, interpolation="bicubic")]


def small_image_loaders(
    train: dict, test: dict, image_size: int, scale: tuple[float, float], num_workers: int = 2
) -> tuple[dict, dict]:
    """Return `train_dataloader, val_dataloader` of labelled images that are small and of one size.

    Training crops and flips; testing resizes to `image_size`, which leaves images of that size as they are.

    Args:
        train, test: data sets, without transforms.
        image_size: side in pixels.
        scale: smallest and largest crop, as fractions of the image's area.
        num_workers: of each loader.
    """
    crops = [
        dict(type="RandomResizedCrop", size=image_size, scale=scale, interpolation="bicubic"),
        dict(type="RandomHorizontalFlip"),
    ]
    shared = dict(num_workers=num_workers, collate_fn=dict(type="default_collate"))
    train_dataloader = dict(
        batch_size=128,
        persistent_workers=True,
        drop_last=True,
        sampler=dict(type="EpochSampler"),
        dataset=dict(train, transform=crops),
        **shared,
    )
    val_dataloader = dict(
        batch_size=100,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(test, transform=whole_image(image_size)),
        **shared,
    )
    return train_dataloader, val_dataloader


def whole_image(image_size: int) -> list[dict]:
    """Return the transform that shows a square image whole, bicubic; one of `image_size` pixels stays as it is."""
    return [dict(type="Resize", size=(image_size, image_size), interpolation="bicubic")]


def frozen_loaders(train: dict, test: dict, image_size: int, num_workers: int = 2) -> tuple[dict, dict]:
    """Return `test_cfg, test_dataloader` for frozen features of square images, of which nothing is cropped.

    k-NN and probes learn from `test_cfg.memory_dataloader`, the whole training split without augmentation.

    Args:
        train, test: data sets, without transforms.
        image_size: side in pixels.
        num_workers: of each loader.
    """
    def loader(dataset: dict, **sampler: bool) -> dict:
        return dict(
            batch_size=100,
            num_workers=num_workers,
            sampler=dict(type="DefaultSampler", shuffle=False, **sampler),
            collate_fn=dict(type="default_collate"),
            dataset=dict(dataset, transform=whole_image(image_size)),
        )

    return dict(memory_dataloader=loader(train, round_up=False)), loader(test)
