"""`preprocessor_config.json`: from a picture to what the model was trained on, in the words of Transformers."""
from __future__ import annotations

from typing import Any

from mimtransfer.export.source import Source

_BICUBIC = 3  # of Pillow
_CROP = 224 / 256  # share of the shorter side that the evaluation of classification keeps (in1k_labelled.py)
_SMALL = 96  # pixels; CIFAR's images are shown whole (cifar10_classification.py)


def crop_share(img_size: tuple[int, int]) -> float:
    """Return the share of the shorter side that is kept: 0.875, or all of what is small or not square."""
    height, width = img_size
    return _CROP if height == width > _SMALL else 1.0


def preprocessor_config(source: Source) -> dict[str, Any] | None:
    """Return the config of an image processor that does what our evaluation of frozen features does.

    The shorter side is resized to size / 0.875 (bicubic, antialiased), the centre cropped to the size of the model,
    values scaled to 0 ... 1 and normalised. For a model of small images, or of others than square ones, they are
    resized to its size.

    Returns:
        None for images that are not of three channels, which no image processor reads.
    """
    if source.pixels is None:
        return None
    mean, std = ([value / 255 for value in values] for values in source.pixels)
    height, width = source.backbone.img_size
    share = crop_share((height, width))
    crops = share < 1
    size = {"shortest_edge": round(height / share)} if crops else {"height": height, "width": width}
    crop = {"do_center_crop": True, "crop_size": {"height": height, "width": width}} if crops else {}
    return {
        "image_processor_type": "BitImageProcessor" if crops else "ViTImageProcessor",
        "do_convert_rgb": True, "do_resize": True, "size": size, "resample": _BICUBIC, **crop,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": mean, "image_std": std,
    }
