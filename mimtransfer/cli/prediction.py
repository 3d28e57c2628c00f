"""Look at what a trained detector or segmentor finds in any images: pictures, class maps, JSON."""
from __future__ import annotations

import glob
import logging
import os
import os.path as osp
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

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
from mimtransfer.cli.prediction_files import PredictionsFile, ResultsFile
from mimtransfer.datasets.bands import read_bands, show_bands
from mimtransfer.datasets.coco_ids import CocoIds
from mimtransfer.datasets.configured import bands_of, classes_of, leaves
from mimtransfer.datasets.palette import palette_of
from mimtransfer.datasets.reading import unreadable
from mimtransfer.datasets.tree import left_out_images, printable, some, walk
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import UserError, near_files, what_is
from mimtransfer.openmmlab import class_colours
from mimtransfer.training.drawn_detections import enlarged, enlargement

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


def find_images(paths: list[str]) -> list[str]:
    """Return the image files that are named, those that patterns match, and those below folders, each folder sorted.

    Links are followed; what is left out of a folder is logged. An image that is named twice comes once.

    Args:
        paths: files, folders, or patterns with `*`, `?`, `[...]`, and `**` for folders of any depth.

    Raises:
        UserError: a path does not exist, a pattern matches nothing, or a folder holds no image.
    """
    found = []
    for path in paths:
        if osp.isdir(path):
            found += _in_folder(path)
        elif osp.isfile(path):
            found.append(path)
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            images = [name for name in matches if name.lower().endswith(SUFFIXES) and osp.isfile(name)]
            no_files = [f"{printable(name)} ({_why_no_file(name)})" for name in matches
                        if name.lower().endswith(SUFFIXES) and not osp.isfile(name) and not osp.isdir(name)]
            if no_files:
                print_log(f"{path!r}: left out {some(no_files)}", logger="current", level=logging.WARNING)
            # A folder that `**` matches is there for its files, which are matched themselves.
            folders = [] if "**" in path else [name for name in matches if osp.isdir(name)]
            if not images and not folders:
                raise UserError(f"{path!r}: no image or folder matches this pattern, expected files that end in "
                                f"{', '.join(SUFFIXES)}")
            found += images + [name for folder in folders for name in _in_folder(folder)]
        else:
            why = f"it is a {what_is(path)}" if osp.exists(path) else f"no such file or folder{near_files(path)}"
            raise UserError(f"{path!r}: {why}")
    first: dict[str, str] = {}
    for path in found:
        first.setdefault(osp.abspath(path), path)
    return list(first.values())


def _why_no_file(path: str) -> str:
    return "no regular file" if osp.exists(path) else "a link to nothing"


def _in_folder(path: str) -> list[str]:
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
    return inside


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
    weights = state_dict_of(read_checkpoint(checkpoint), checkpoint)
    model.load_state_dict(weights, strict=False)  # what it has beyond the model is not needed
    return model.to(device).eval()


class Prediction(NamedTuple):
    """What is found in an image."""

    entry: dict[str, Any]  # for `predictions.json`
    results: dict[str, list[dict[str, Any]]]  # kind ("bbox", "segm") -> all detections in COCO's format for results


class Predictor:
    """Images to predictions on disk.

    Args:
        cfg: of a detector or segmentor, its scope entered (`launch.enter_scope`).
        checkpoint: of `tools/train.py` under this config.
        out: folder for pictures, class maps and `predictions.json`.
        score_threshold: boxes and masks below it are neither drawn nor written.
        device: "cpu", "cuda:0" ...
        ann_file: COCO json with the ids of images and categories; None: that of the config, where it is there.
    """

    def __init__(self, cfg: Config, checkpoint: str, out: str, score_threshold: float = 0.3, device: str = "cpu",
                 ann_file: str | None = None):
        self.out, self.score_threshold = out, score_threshold
        dataset = next(leaves((cfg.get("test_dataloader") or cfg.val_dataloader).dataset))
        self.classes = classes_of(dataset)
        if ann_file is not None and cfg.default_scope != "mmdet":
            raise UserError("--ann-file: a segmentor's classes have no COCO ids; leave it out")
        self.ids = CocoIds(dataset, ann_file)
        self.model: Any = load_model(cfg, checkpoint, device)
        # Images have no labels here. The data of the config have an own way to be read: from the path, for ours.
        steps = [step for step in dataset.pipeline if not str(step["type"]).endswith("LoadAnnotations")]
        self.pipeline = Compose(steps)
        self.in_chans = bands_of(dataset)
        # The default of both libraries, 0.8, hides what a mask lies on.
        visualizer = {"alpha": 0.5, **cfg.get("visualizer", {}), "name": "predictions", "vis_backends": None}
        self.visualizer: Visualizer = VISUALIZERS.build(visualizer)
        self.visualizer.dataset_meta = dict(classes=self.classes, palette=palette_of(dataset))
        class_colours.install()

    @torch.inference_mode()
    def __call__(self, path: str, name: str) -> Prediction:
        """Predict one image, and write its files under `<out>/<name>*`.

        Returns:
            its JSON entry, `image`, `file_name`, `width`, `height`, `picture`, then `image_id` and `detections`
            (`label`, `category`, `category_id`, `score`, `bbox` as x y width height in pixels, `segmentation` as COCO
            RLE where there are masks), or `class_map` and `classes` (fraction of the pixels). Ids that no json tells
            are None. Results are empty without them.

        Raises:
            UnreadableImage: the file is no whole image.
        """
        if self.in_chans is None and (why := unreadable(path)):
            raise UnreadableImage(why)
        image = _rgb(path) if self.in_chans is None else show_bands(read_bands(read_regular(path), self.in_chans))
        sample = self.model.test_step(pseudo_collate([self.pipeline(dict(img_path=path, img_id=0))]))[0].cpu()
        picture = f"{name}.jpg"
        os.makedirs(osp.dirname(osp.join(self.out, picture)) or ".", exist_ok=True)
        image_id, file_name = self.ids.of_image(path)
        entry = dict(image=path, file_name=file_name, width=image.shape[1], height=image.shape[0], picture=picture)
        detects = "pred_instances" in sample
        options = dict(pred_score_thr=self.score_threshold) if detects else dict(with_labels=False)
        factor = enlargement(image.shape[1], image.shape[0]) if detects else 1  # names would hide a small image
        self.visualizer.add_datasample(name, image.repeat(factor, 0).repeat(factor, 1), enlarged(sample, factor),
                                       draw_gt=False, out_file=osp.join(self.out, picture), **options)
        if not detects:
            return Prediction({**entry, **self._class_map(sample.pred_sem_seg.data[0].numpy(), name)}, {})
        found = self._detections(sample.pred_instances)
        drawn = sorted((one for one in found if one["score"] > self.score_threshold), key=lambda one: -one["score"])
        rounded = [{**one, "score": round(one["score"], 4), "bbox": [round(value, 2) for value in one["bbox"]]}
                   for one in drawn]
        for one in rounded:
            one.pop("mask_score", None)
        return Prediction({**entry, "image_id": image_id, "detections": rounded}, _results(found, image_id))

    def _detections(self, found) -> list[dict[str, Any]]:
        """Return all detections in the order of the model, which the evaluator keeps among equal scores."""
        entries = []
        columns = (found[key].tolist() for key in ("bboxes", "labels", "scores"))
        for i, ((x0, y0, x1, y1), label, score) in enumerate(zip(*columns)):
            known = self.ids.categories
            entry = dict(label=label, category=self.classes[label], category_id=known and known[label], score=score)
            entry["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            if "masks" in found:
                from pycocotools.mask import encode

                rle = encode(np.asfortranarray(found.masks[i].numpy().astype(np.uint8)))
                entry["segmentation"] = dict(size=rle["size"], counts=rle["counts"].decode("ascii"))
                if "mask_scores" in found:
                    entry["mask_score"] = found.mask_scores[i].item()
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


class CocoResults:
    """`results.bbox.json` and, where there are masks, `results.segm.json`: what COCO's server takes.

    Args:
        out: folder of the files; each is made when the first image with ids is added, those of an earlier call go.
    """

    def __init__(self, out: str):
        self.out = out
        self.num_images = 0
        self.files: dict[str, ResultsFile] = {}
        self._stack = ExitStack()
        for kind in ("bbox", "segm"):
            Path(out, f"results.{kind}.json").unlink(missing_ok=True)

    def add(self, prediction: Prediction) -> None:
        """Add the detections of an image."""
        for kind, results in prediction.results.items():
            if kind not in self.files:
                path = osp.join(self.out, f"results.{kind}.json")
                self.files[kind] = self._stack.enter_context(ResultsFile(path))
            self.files[kind].add(results)
        self.num_images += bool(prediction.results)

    def __enter__(self) -> CocoResults:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _results(found: list[dict[str, Any]], image_id: int | None) -> dict[str, list[dict[str, Any]]]:
    if image_id is None:
        return {}
    common = [dict(image_id=image_id, category_id=one["category_id"], score=one["score"]) for one in found]
    results = {"bbox": [{**ids, "bbox": one["bbox"]} for ids, one in zip(common, found)]}
    if any("segmentation" in one for one in found):
        # Without boxes: pycocotools would take their area for that of the mask.
        results["segm"] = [{**ids, "score": one.get("mask_score", one["score"]), "segmentation": one["segmentation"]}
                           for ids, one in zip(common, found)]
    return results


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
