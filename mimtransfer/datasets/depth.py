"""Images with a depth map each, in two folders: `DepthFolder` pairs them by name, `LoadDepth` reads a map in metres."""
import logging
import os
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mimtransfer.datasets.bands import BAND_EXTENSIONS, read_bands
from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.tree import left_out_images, printable, some, walk
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class DepthFolder(BaseDataset):
    """Images and depth maps of equal names but for their endings, at any depth below their folders.

    Args:
        data_prefix: `img_path` and `depth_map_path`, the two folders, below `data_root`.
        options: of mmengine's BaseDataset; the pipeline is mmseg's, with `LoadDepth` in it.

    Raises:
        UserError: a folder is not there or has no images, or an image has no map, or more than one.
    """

    def __init__(self, data_prefix: dict, **options: Any):
        for name in ("img_path", "depth_map_path"):
            if not data_prefix.get(name):
                raise UserError(f"DepthFolder: data_prefix has no {name!r}, the folder of the "
                                f"{'images' if name == 'img_path' else 'depth maps'}; got {dict(data_prefix)}")
        super().__init__(ann_file="", data_prefix=dict(data_prefix), **options)

    def load_data_list(self) -> list[dict]:
        """List images with their maps, sorted by name."""
        images, maps = (self._files(key, endings) for key, endings in (
            ("img_path", EXTENSIONS), ("depth_map_path", BAND_EXTENSIONS)))
        where = f"DepthFolder {self.data_prefix['img_path']!r}"
        if not images:
            raise UserError(f"{where}: no images ({', '.join(EXTENSIONS)}); set data_prefix.img_path to their folder")
        several = [name for kind in (images, maps) for name, found in kind.items() if len(found) > 1]
        if several:
            raise UserError(f"{where}: several files differ in their ending alone: {some(several)}; keep one of each")
        missing = [name for name in images if name not in maps]
        if missing:
            raise UserError(f"{where}: no depth map in {self.data_prefix['depth_map_path']!r} for {some(missing)}; "
                            "a map has the name of its image, with .png or .npy")
        return [dict(img_path=images[name][0], depth_map_path=maps[name][0], seg_fields=[]) for name in images]

    def _files(self, key: str, endings: tuple[str, ...]) -> dict[str, list[str]]:
        """Return name without ending -> paths; log what is left out."""
        folder = self.data_prefix[key]
        try:
            tree = walk(folder)
        except OSError as error:
            raise UserError(f"DepthFolder: cannot list {folder!r} ({error.strerror}); set data_root and "
                            f"data_prefix.{key}") from error
        if left_out := left_out_images(tree, endings):
            print_log(f"DepthFolder {folder!r}: left out {some(left_out)}", logger="current", level=logging.WARNING)
        found: dict[str, list[str]] = {}
        for path in map(os.fsdecode, tree.files):
            name, ending = os.path.splitext(path)
            if ending.lower() in endings:
                found.setdefault(name, []).append(os.path.join(folder, path))
        return found


@TRANSFORMS.register_module()
class LoadDepth:
    """Load the depth map of an image in a pipeline of mmseg, from 16-bit PNG or TIFF, or from .npy.

    Args:
        scale: metres in one unit of the file. Default: 0.001 for integers (millimetres), 1 for floats.

    Raises:
        UserError: a scale that is not above 0; from a call: the file cannot be read, has 8 bits, another size than the
            image, or no depth at all.
    """

    def __init__(self, scale: float | None = None):
        if scale is not None and not 0 < scale < float("inf"):
            raise UserError(f"LoadDepth: got scale={scale!r}, expected metres in one unit of the file, above 0")
        self.scale = scale

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return the results with `gt_depth_map`, [H, W] float32 in metres; 0 where there is none."""
        path = results["depth_map_path"]
        where = f"depth map {printable(path)!r}"
        try:
            raw = read_bands(read_regular(path), 1)[:, :, 0]
        except UnreadableImage as error:
            raise UserError(f"{where} cannot be read ({error}); repair it, or remove it with its image") from error
        if raw.dtype == np.uint8:
            raise UserError(f"{where} has 8 bits, which are no depth in metres; expected 16-bit PNG or floats in .npy")
        if raw.shape != tuple(results.get("img_shape", raw.shape)):
            height, width = results["img_shape"]
            raise UserError(f"{where} is {raw.shape[1]} x {raw.shape[0]}, its image {width} x {height}; resize it "
                            "(nearest neighbour)")
        scale = self.scale or (1e-3 if raw.dtype.kind in "ui" else 1.0)
        depth = raw.astype(np.float32) * np.float32(scale)
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
        if not depth.any():
            raise UserError(f"{where} has no depth above 0; remove it with its image")
        results["gt_depth_map"] = depth
        results["seg_fields"].append("gt_depth_map")
        return results
