"""Look at what a trained detector or segmentor finds in any images: pictures, class maps, JSON."""
from __future__ import annotations

import json
import os
import os.path as osp
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, VISUALIZERS
from mmengine.visualization import Visualizer
from PIL import Image
from torch import nn

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli.launch import check_checkpoint
from mimtransfer.datasets.configured import classes_of, leaves
from mimtransfer.errors import UserError, near_files

MOST_NARROW = 200  # long to short side
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def find_images(paths: list[str]) -> list[str]:
    """Return the image files that are named, and those below the folders that are named, sorted.

    Raises:
        UserError: a path does not exist, or a folder holds no image.
    """
    found = []
    for path in paths:
        if osp.isdir(path):
            inside = sorted(osp.join(at, name) for at, _, files in os.walk(path) for name in files
                            if name.lower().endswith(SUFFIXES))
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
    saved = read_checkpoint(checkpoint)
    weights = {name.removeprefix("module."): value for name, value in saved.get("state_dict", saved).items()}
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
        self.model = load_model(cfg, checkpoint, device)
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
        """
        try:
            with Image.open(path) as image:
                image.verify()
        except (OSError, SyntaxError) as error:
            raise UserError(f"{path!r} is no readable image ({error})") from None
        with Image.open(path) as image:
            width, height = image.size
        if max(width, height) > MOST_NARROW * min(width, height):
            raise UserError(f"{path!r} has {width} x {height} pixels: resized for the model its short side would be "
                            f"less than a pixel; expected sides of a ratio of at most {MOST_NARROW}")
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

    def write_json(self, entries: list[dict[str, Any]]) -> str:
        """Write `predictions.json` and return its path."""
        path = osp.join(self.out, "predictions.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dict(classes=list(self.classes), images=entries), file, indent=1)
        return path


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
    return [tuple(round(255 * value) for value in colour) for colour in colours]
