"""Read images and labels for mmdet and mmseg so that a file that cannot be read is named, at training time too.

mmcv decodes bytes and has forgotten the name by then: the traceback of a worker says that something is None. Here the
three transforms that open files stand in for OpenMMLab's under their names, so no config changes, and
`tools/doctor.py` decodes by the same function.
"""
from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image

from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import BROKEN, CorruptLimit, UnreadableImage, read_regular, reason
from mimtransfer.errors import UserError
from mimtransfer.openmmlab import narrow_images

narrow_images.install()  # here, for the processes of loaders import this module, too
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def decode(content: bytes, flag: str = "color", backend: str | None = "cv2") -> np.ndarray:
    """Decode a file as `mmcv.imfrombytes` does, and refuse what is cut off.

    Returns:
        [H, W, 3] uint8, or what the file holds where `flag` is 'unchanged'.

    Raises:
        UnreadableImage: the content is no whole image.
    """
    try:
        if not content:
            raise UnreadableImage("the file is empty")
        pixels = mmcv.imfrombytes(content, flag=flag, backend=backend)
        # Some versions of OpenCV fill the rest of a cut JPEG with grey and say nothing.
        if pixels is None or (content.startswith(_JPEG_START) and _JPEG_END not in content[-4096:]):
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                if pixels is None:
                    raise UnreadableImage(f"a {image.format} of mode {image.mode}, which OpenCV does not read; save it "
                                          "as 8-bit RGB")
    except (*BROKEN, cv2.error) as error:
        raise UnreadableImage(reason(content, error)) from error
    return pixels


def unreadable(path: str) -> str | None:
    """Say why the pipeline could not read an image; None when it can."""
    try:
        decode(read_regular(path))
    except UnreadableImage as error:
        return str(error)
    return None


class LoadImageFromFile(_LoadImageFromFile):
    """Load an image as mmcv does.

    Args:
        max_corrupt: so many unreadable images of a training set are replaced by others, in each training process.

    Raises:
        UserError: from a call: the file cannot be read.
    """

    def __init__(self, *args: Any, max_corrupt: int = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._limit = CorruptLimit(max_corrupt)

    def transform(self, results: dict) -> dict | None:
        path = results["img_path"]
        try:
            local = self.backend_args is None and self.file_client_args is None and "://" not in str(path)
            content = read_regular(path) if local else fileio.get(path, backend_args=self.backend_args)
            pixels = decode(content, self.color_type, self.imdecode_backend)
        except UnreadableImage as error:
            if not self.ignore_empty:
                self._limit.note(path, str(error))
            return None  # the data set draws another image
        if self.to_float32:
            pixels = pixels.astype(np.float32)
        results["img"] = pixels
        results["img_shape"] = results["ori_shape"] = pixels.shape[:2]
        return results


def _name_the_file(transform: Callable[[], dict], results: dict) -> dict:
    """Call a transform that loads labels; name the file of any error that they cause."""
    image: str = results.get("img_path") or ""
    path: str = results.get("seg_map_path") or ""
    try:
        if path and os.path.exists(path) and not os.path.isfile(path):
            raise UnreadableImage("no regular file")
        results = transform()
    except (*BROKEN, AttributeError, AssertionError, UnreadableImage, cv2.error) as error:
        why = str(error) if isinstance(error, UnreadableImage) else reason(None, error)
        what = f"index map {printable(path)!r}" if path else f"annotations of image {printable(image)!r}"
        raise UserError(f"{what} cannot be read ({why}); repair it, or remove it with its image") from None
    labels = results.get("gt_seg_map")
    shape = results.get("ori_shape")  # not where index maps alone are read
    if labels is not None and shape is not None and labels.ndim < 2 and labels.size == np.prod(shape):
        labels = results["gt_seg_map"] = labels.reshape(shape)  # mmseg drops sides of one pixel
    if labels is not None and labels.ndim == 2 and labels.shape != tuple(results.get("ori_shape", labels.shape)):
        height, width = results["ori_shape"]
        raise UserError(f"index map {printable(path)!r} is {labels.shape[1]} x {labels.shape[0]}, its image {width} x "
                        f"{height}; resize it (nearest neighbour), or turn it as the image's EXIF data say")
    return results


def stand_in(scope: str) -> None:
    """Let configs of a scope, 'mmdet' or 'mmseg', read files by the transforms of this module."""
    TRANSFORMS.register_module(name="LoadImageFromFile", module=LoadImageFromFile, force=True)
    registry, name = _LABELS[scope]
    registry = importlib.import_module(registry).TRANSFORMS
    registry.register_module(name="LoadAnnotations", module=getattr(sys.modules[__name__], name), force=True)
    if scope == "mmseg":
        narrow_images.pool_narrow_maps(importlib.import_module("mmseg.models.necks").Feature2Pyramid)


_LABELS = {"mmdet": ("mmdet.registry", "DetLoadAnnotations"), "mmseg": ("mmseg.registry", "SegLoadAnnotations")}


def __getattr__(name: str) -> type:
    """Make `DetLoadAnnotations` or `SegLoadAnnotations` when it is asked for: a run needs one of the two libraries."""
    libraries = {title: library for library, (_, title) in _LABELS.items()}
    if name not in libraries:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = importlib.import_module(f"{libraries[name]}.datasets.transforms").LoadAnnotations

    def transform(self, results: dict) -> dict:
        return _name_the_file(lambda: base.transform(self, results), results)

    made = type(base)(name, (base,), {"transform": transform, "__module__": __name__, "__doc__": base.__doc__})
    globals()[name] = made  # a worker that is spawned finds it by this name
    return made
