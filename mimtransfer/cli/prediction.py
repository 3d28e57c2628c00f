"""Look at what a trained detector or segmentor finds in any images: pictures, class maps, JSON."""
from __future__ import annotations

import json
import logging
import os
import os.path as osp
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import MODELS, VISUALIZERS
from mmengine.visualization import Visualizer
from PIL import Image
from torch import nn

from mimtransfer.checkpoints.safe_load import read_checkpoint, state_dict_of
from mimtransfer.cli.launch import check_checkpoint
from mimtransfer.datasets.configured import classes_of, leaves
from mimtransfer.datasets.reading import unreadable
from mimtransfer.datasets.tree import left_out_images, printable, some, walk
from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError, near_files

MOST_NARROW = 200  # long to short side
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def find_images(paths: list[str]) -> list[str]:
    """Return the image files that are named, and those below the folders that are named, sorted.

    Links are followed; what is left out of a folder is logged.

    Raises:
        UserError: a path does not exist, or a folder holds no image.
    """
    found = []
    for path in paths:
        if osp.isdir(path):
            try:
                tree = walk(path)
            except OSError as error:
                raise UserError(f"{path!r} cannot be read ({error.strerror}); check its rights") from None
            inside = sorted(osp.join(path, os.fsdecode(name)) for name in tree.files)
            inside = [name for name in inside if name.lower().endswith(SUFFIXES)]
            if left_out := left_out_images(tree, SUFFIXES):
                print_log(f"{printable(path)}: left out {some(left_out)}", logger="current", level=logging.WARNING)
            if not inside:
                raise UserError(f"{path!r}: no image in this folder, expected files that end in {', '.join(SUFFIXES)}")
            found += inside
        elif osp.isfile(path):
            found.append(path)
        else:
            raise UserError(f"{path!r}: no such file or folder{near_files(path)}")
    return found


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or that is not here.

    Raises:
        UserError: it does not exist.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise UserError(f"--device {device}: no such device; expected cpu, cuda or cuda:N") from None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        raise UserError(f"--device {device}: torch sees {count} CUDA devices on this machine; leave --device out, or "
                        "give cpu")


def check_sides(path: str) -> None:
    """Refuse an image that is so narrow that nothing is left of it when it is resized for a model.

    Raises:
        UserError: it is.
    """
    with Image.open(path) as file:
        width, height = file.size
    if max(width, height) > MOST_NARROW * min(width, height):
        raise UserError(f"{path!r} has {width} x {height} pixels: resized for the model its short side would be less "
                        f"than a pixel; expected a long side of at most {MOST_NARROW} short ones")


def load_model(cfg: Config, checkpoint: str, device: str) -> nn.Module:
    """Build the model of a transfer config with the weights of a checkpoint, wholly.

    Raises:
        UserError: the config is no detector's or segmentor's, or the checkpoint is not of this config.
    """
    if cfg.get("default_scope") not in ("mmdet", "mmseg"):
        raise UserError(f"expected a detection or segmentation config, got one of task {cfg.get('task')!r}")
    cfg.model.backbone.pop("init_cfg", None)  # all weights come from the checkpoint
    model = MODELS.build(cfg.model)
    check_checkpoint(model, checkpoint)
    weights = state_dict_of(read_checkpoint(checkpoint), checkpoint)
    model.load_state_dict(weights, strict=False)  # what it has beyond the model is not needed
    return model.to(device).eval()


class Predictor:
    """Images to predictions on disk.

    Args:
        cfg: of a detector or segmentor, its scope entered (`launch.enter_scope`).
        checkpoint: of `tools/train.py` under this config.
        out: folder for pictures, class maps and `predictions.json`.
        score_threshold: boxes and masks below it are neither drawn nor written.
        device: "cpu", "cuda:0" ...
    """

    def __init__(self, cfg: Config, checkpoint: str, out: str, score_threshold: float = 0.3, device: str = "cpu"):
        self.model: Any = load_model(cfg, checkpoint, device)
        self.out, self.score_threshold = out, score_threshold
        dataset = next(leaves((cfg.get("test_dataloader") or cfg.val_dataloader).dataset))
        self.classes = classes_of(dataset)
        # Images have no labels here. The data of the config have an own way to be read: from the path, for ours.
        steps = [step for step in dataset.pipeline if not str(step["type"]).endswith("LoadAnnotations")]
        self.pipeline = Compose(steps)
        visualizer = {**cfg.get("visualizer", {}), "name": "predictions", "vis_backends": None}
        self.visualizer: Visualizer = VISUALIZERS.build(visualizer)
        palette = (dataset.get("metainfo") or {}).get("palette")
        self.visualizer.dataset_meta = dict(classes=self.classes, palette=palette or _palette(len(self.classes)))

    @torch.inference_mode()
    def __call__(self, path: str, name: str) -> dict[str, Any]:
        """Predict one image, and write its files under `<out>/<name>*`.

        Returns:
            JSON entry: `image`, `width`, `height`, `picture`, then `detections` (`label`, `category`, `score`,
            `bbox` as x y width height in pixels, `segmentation` as COCO RLE where there are masks), or `class_map` and
            `classes` (fraction of the pixels).

        Raises:
            UnreadableImage: the file is no whole image.
        """
        if why := unreadable(path):
            raise UnreadableImage(why)
        check_sides(path)
        sample = self.model.test_step(pseudo_collate([self.pipeline(dict(img_path=path, img_id=0))]))[0].cpu()
        image = _rgb(path)
        picture = f"{name}.jpg"
        os.makedirs(osp.dirname(osp.join(self.out, picture)) or ".", exist_ok=True)
        entry = dict(image=path, width=image.shape[1], height=image.shape[0], picture=picture)
        detects = "pred_instances" in sample
        options = dict(pred_score_thr=self.score_threshold) if detects else dict(with_labels=False)
        self.visualizer.add_datasample(name, image, sample, draw_gt=False, out_file=osp.join(self.out, picture),
                                       **options)
        if detects:
            return {**entry, "detections": self._detections(sample.pred_instances)}
        return {**entry, **self._class_map(sample.pred_sem_seg.data[0].numpy(), name)}

    def _detections(self, found) -> list[dict[str, Any]]:
        found = found[found.scores > self.score_threshold]
        found = found[found.scores.argsort(descending=True)]
        entries = []
        columns = (found[key].tolist() for key in ("bboxes", "labels", "scores"))
        for i, ((x0, y0, x1, y1), label, score) in enumerate(zip(*columns)):
            entry = dict(label=label, category=self.classes[label], score=round(score, 4))
            entry["bbox"] = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            if "masks" in found:
                from pycocotools.mask import encode

                rle = encode(np.asfortranarray(found.masks[i].numpy().astype(np.uint8)))
                entry["segmentation"] = dict(size=rle["size"], counts=rle["counts"].decode("ascii"))
            entries.append(entry)
        return entries

    def _class_map(self, labels: np.ndarray, name: str) -> dict[str, Any]:
        """Write the labels as a PNG of class indices, which viewers show in the colours of its palette."""
        path = f"{name}_classes.png"
        picture = Image.fromarray(labels.astype(np.uint8), mode="P")
        picture.putpalette([value for colour in self.visualizer.dataset_meta["palette"] for value in colour])
        picture.save(osp.join(self.out, path))
        share = np.bincount(labels.ravel(), minlength=len(self.classes)) / labels.size
        classes = {name: round(float(part), 4) for name, part in zip(self.classes, share) if part > 0}
        return dict(class_map=path, classes=classes)

    def write_json(self) -> PredictionsFile:
        """Open `predictions.json` of the output folder."""
        os.makedirs(self.out, exist_ok=True)
        return PredictionsFile(osp.join(self.out, "predictions.json"), self.classes)


class PredictionsFile:
    """A JSON of `classes`, `images`, one entry each, and `unreadable`, that is whole after every image.

    Args:
        path: written anew.
        classes: names of the labels.
    """

    def __init__(self, path: str, classes: tuple[str, ...]):
        self.path, self.num_images = path, 0
        self.unreadable: list[dict[str, str]] = []
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115  closed by __exit__
        self._file.write(f'{{"classes": {json.dumps(list(classes))},\n"images": [')
        self._finish()

    def add(self, entry: dict[str, Any]) -> None:
        """Add the entry of an image."""
        self._file.seek(self._end)
        self._file.truncate()
        self._file.write((",\n" if self.num_images else "\n") + json.dumps(entry))
        self.num_images += 1
        self._finish()

    def leave_out(self, path: str, why: str) -> None:
        """Note an image that cannot be read."""
        self.unreadable.append(dict(image=path, reason=why))
        self._file.seek(self._end)
        self._file.truncate()
        self._finish()

    def _finish(self) -> None:
        self._end = self._file.tell()
        self._file.write(f'\n],\n"unreadable": {json.dumps(self.unreadable)}}}\n')
        self._file.flush()

    def __enter__(self) -> PredictionsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def names_for(images: list[str]) -> list[str]:
    """Name the outputs: the stem of each image, with the folder before it or a number behind it where stems are equal.
    """
    stems = [osp.splitext(osp.basename(path))[0] for path in images]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{stem}_{i}" for i, stem in enumerate(stems)]


def _rgb(path: str) -> np.ndarray:
    """Read as the pipeline does, which turns the picture as its EXIF data say."""
    import mmcv

    return mmcv.imread(path, channel_order="rgb")


def _palette(num_classes: int) -> list[tuple[int, int, int]]:
    """Return colours that differ (golden-ratio hues)."""
    import colorsys

    hues = [(i * 0.618034) % 1.0 for i in range(num_classes)]
    colours = [colorsys.hsv_to_rgb(hue, 0.75, 0.6 + 0.4 * (i % 2)) for i, hue in enumerate(hues)]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]
