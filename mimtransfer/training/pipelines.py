"""Pipelines of mmdet that config files call by name, told by the size of the image; nothing heavy is imported."""


def lsj_pipelines(image_size: tuple[int, int]) -> tuple[list[dict], list[dict]]:
    """Return `train_pipeline, test_pipeline` with large-scale jitter (arXiv 2203.16527, app. A.2).

    Training flips, scales by 0.1 to 2 of `image_size` and crops to it; testing scales to fit it.

    Args:
        image_size: width and height in pixels.
    """
    load = dict(type="LoadImageFromFile", backend_args=None)
    annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
    train = [
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
    train = [
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
