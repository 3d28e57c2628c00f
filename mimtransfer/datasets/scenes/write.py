"""Write the embedded data set to disk: pictures, COCO json, index maps; see docs/scenes.md for the layout.

A run may be killed at any time: a file appears whole or not at all, `meta.json` comes last, and the next run draws what
is missing.
"""
import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mimtransfer.datasets.scenes.compose import Composition, compose, scene_rng
from mimtransfer.datasets.scenes.objects import Originals, load_originals
from mimtransfer.datasets.scenes.paint import paint
from mimtransfer.datasets.scenes.style import DIGITS, LABELLED, SPLITS, SceneStyle, segmentation_metainfo
from mimtransfer.errors import UserError
from mimtransfer.stored import read_object

RECIPE = 2  # raise it with every change of code that changes a pixel: older folders then no longer count as complete
_CHUNK = 16  # scenes per task of a worker
_MAX_COUNT = 1_000_000  # file names have six digits


@dataclasses.dataclass(frozen=True)
class SceneSet:
    """What makes two data sets the same.

    size: height and width in pixels.
    counts: number of scenes of each of SPLITS.
    """

    size: tuple[int, int] = (64, 64)
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: {"train": 400, "val": 200, "unlabelled": 4000})
    seed: int = 0
    style: SceneStyle = dataclasses.field(default_factory=SceneStyle)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(v, int) and 32 <= v <= 4096 for v in self.size):
            raise UserError(f"scene size: got {self.size!r}, expected height and width from 32 to 4096 pixels")
        if set(self.counts) != set(SPLITS) or not all(0 <= n <= _MAX_COUNT for n in self.counts.values()):
            wanted = f"0 to {_MAX_COUNT} for each of {', '.join(SPLITS)}"
            raise UserError(f"scene counts: got {self.counts!r}, expected {wanted}")
        if self.seed < 0:
            raise UserError(f"scene seed: got {self.seed}, expected an integer >= 0")

    def request(self) -> dict[str, Any]:
        """Return all of it as json-ready values."""
        return json.loads(json.dumps({"recipe": RECIPE, **dataclasses.asdict(self)}))


def make_scenes(
    out: str | Path, scenes: SceneSet, workers: int | None = None, overwrite: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Draw the data set into a folder, or what is missing of it, and return the content of its meta.json.

    More scenes of the same kind are added to what is there; anything else that differs needs `overwrite`.

    Args:
        workers: processes, one for each usable core when None. They do not change a byte of the result.
        overwrite: replace another scene set in the folder. A folder that holds anything else is never touched.
    """
    out = Path(out)
    try:
        _claim(out, scenes, overwrite)
        done = out / "meta.json"
        if done.exists() and not _missing(out, scenes):
            return read_object(done, {}, "add --overwrite, or remove it")
        done.unlink(missing_ok=True)
        for folder in _folders(out):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*.tmp"):  # of a run that was killed
                leftover.unlink()
        return _write(out, scenes, workers, progress)
    except OSError as error:
        raise UserError(f"cannot write scenes to {str(out)!r}: {error.strerror}; choose another --out") from error


def _folders(out: Path) -> list[Path]:
    return [out / split for split in SPLITS] + [out / "seg" / split for split in LABELLED] + [out / "annotations"]


def _claim(out: Path, scenes: SceneSet, overwrite: bool) -> None:
    """Make the folder ours. `request.json` names what a run was asked for, from its beginning."""
    marker, request = out / "request.json", scenes.request()
    if marker.exists():
        fields = dict(recipe=int, size=list, seed=int, style=dict, counts=dict)
        before = read_object(marker, fields, "choose another --out, or remove the folder")
        if overwrite and before != request:
            (out / "meta.json").unlink(missing_ok=True)
            for name in (*SPLITS, "seg", "annotations"):
                if (out / name).exists():
                    shutil.rmtree(out / name)
        elif differing := _difference(before, request):
            raise UserError(f"{str(out)!r} holds other scenes ({differing}); add --overwrite or choose another --out")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{str(out)!r} is not empty and holds no scenes of this tool; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    if not marker.exists() or read_object(marker, {}, "remove it") != request:
        (out / "meta.json").unlink(missing_ok=True)
        _put(marker, (json.dumps(request, indent=1) + "\n").encode())


def _difference(before: dict[str, Any], request: dict[str, Any]) -> str:
    """Word the first thing that keeps the scenes there from being part of those asked for; "" when there is none."""
    if before["recipe"] != request["recipe"]:
        return "drawn by another version of this tool"
    for key, there, asked in (
        ("size", before["size"], request["size"]),
        ("seed", before["seed"], request["seed"]),
        *((key, before["style"].get(key), value) for key, value in request["style"].items()),
    ):
        if there != asked:
            return f"{key} {there} there, {asked} asked for"
    for split, count in request["counts"].items():
        if before["counts"].get(split, 0) > count:
            return f"{before['counts'][split]} {split} scenes there, {count} asked for"
    return ""


def _missing(out: Path, scenes: SceneSet) -> bool:
    """Say whether any file that the request stands for is absent."""
    files = {split: {_name(i) + ".jpg" for i in range(scenes.counts[split])} for split in SPLITS}
    files |= {f"seg/{split}": {_name(i) + ".png" for i in range(scenes.counts[split])} for split in LABELLED}
    files["annotations"] = {f"instances_{split}.json" for split in LABELLED}
    return any(not (out / folder).is_dir() or names - set(os.listdir(out / folder)) for folder, names in files.items())


def _name(index: int) -> str:
    return f"{index:06d}"


def _put(path: Path, content: bytes) -> None:
    """Write a file so that it is never seen half-written."""
    part = path.with_name(f".{path.name}.tmp")
    part.write_bytes(content)
    part.replace(path)


def _write(out: Path, scenes: SceneSet, workers: int | None, progress: bool) -> dict[str, Any]:
    originals = load_originals()
    digests = {split: hashlib.sha256() for split in SPLITS}
    coco = {split: _coco(split, scenes) for split in LABELLED}
    bar = tqdm(total=sum(scenes.counts.values()), desc="scenes", unit="img", mininterval=0.5, disable=not progress)
    for split, results in _run(out, scenes, originals, workers or usable_cores()):
        for index, digest, instances in results:
            digests[split].update(digest)
            if split in LABELLED:
                _add_to(coco[split], index, instances, scenes.size)
        bar.update(len(results))
    bar.close()
    for split in LABELLED:
        _put(out / "annotations" / f"instances_{split}.json", json.dumps(coco[split]).encode())
    info = segmentation_metainfo(scenes.style)
    meta = {
        "dataset": "scenes of mimtransfer",
        **scenes.request(),
        "things": list(scenes.style.things),
        "classes": list(info["classes"]),
        "palette": [list(colour) for colour in info["palette"]],
        "num_instances": {split: len(coco[split]["annotations"]) for split in LABELLED},
        "sha256": {split: digests[split].hexdigest() for split in SPLITS},
        "versions": {name: version(name) for name in ("numpy", "pillow", "scikit-learn", "pycocotools")},
    }
    _put(out / "meta.json", (json.dumps(meta, indent=1) + "\n").encode())
    return meta


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- one process draws chunks of scenes

Result = tuple[int, bytes, list[dict[str, Any]]]  # index, digest of its files, COCO annotations without ids


def _run(out: Path, scenes: SceneSet, originals: Originals, workers: int) -> Iterator[tuple[str, list[Result]]]:
    """Yield the results of all chunks, in order."""
    tasks = [
        (split, start, min(start + _CHUNK, scenes.counts[split]))
        for split in SPLITS
        for start in range(0, scenes.counts[split], _CHUNK)
    ]
    if workers == 1 or len(tasks) < 4:  # too little to pay for the start of processes
        for task in tasks:
            yield task[0], _draw_chunk(out, scenes, originals, *task)
        return
    # "spawn": a fork would copy locks of whatever threads (torch, OpenCV) the caller has started
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker, (out, scenes, originals)) as pool:
        for task, results in zip(tasks, pool.imap(_draw_task, tasks)):
            yield task[0], results


_job: tuple[Path, SceneSet, Originals]  # of this worker process


def _start_worker(*job: Any) -> None:
    global _job
    _job = job


def _draw_task(task: tuple[str, int, int]) -> list[Result]:
    return _draw_chunk(*_job, *task)


def _draw_chunk(out: Path, scenes: SceneSet, originals: Originals, split: str, start: int, stop: int) -> list[Result]:
    return [_draw_scene(out, scenes, originals, split, index) for index in range(start, stop)]


def _draw_scene(out: Path, scenes: SceneSet, originals: Originals, split: str, index: int) -> Result:
    """Draw what is missing of one scene. Annotations come from the composition, which is cheap, and are not kept."""
    picture, index_map = out / split / f"{_name(index)}.jpg", out / "seg" / split / f"{_name(index)}.png"
    digest = hashlib.sha256()
    layout: Composition | None = None
    if split in LABELLED or not picture.exists():
        layout = compose(scenes.size, scenes.seed, split, index, scenes.style, originals)
    if not picture.exists():
        assert layout is not None
        image = paint(layout, scenes.style, scene_rng(scenes.seed, split, index, 1))
        _put(picture, _encoded(image, "JPEG", quality=95, subsampling=0))
    digest.update(picture.read_bytes())
    if split not in LABELLED:
        return index, digest.digest(), []
    assert layout is not None
    if not index_map.exists():
        _put(index_map, _encoded(layout.index_map, "PNG"))
    digest.update(index_map.read_bytes())
    return index, digest.digest(), [_annotation(i.category, i.visible) for i in layout.instances]


def _encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


# ---- COCO json

def _coco(split: str, scenes: SceneSet) -> dict[str, Any]:
    return {
        "info": {"description": f"scenes of mimtransfer, {split}", "seed": scenes.seed, "recipe": RECIPE},
        "licenses": [],
        "categories": [
            {"id": i, "name": name, "supercategory": "digit" if name in DIGITS else "shape"}
            for i, name in enumerate(scenes.style.things, 1)
        ],
        "images": [],
        "annotations": [],
    }


def _add_to(coco: dict[str, Any], index: int, instances: list[dict[str, Any]], size: tuple[int, int]) -> None:
    coco["images"].append({"id": index + 1, "file_name": f"{_name(index)}.jpg", "height": size[0], "width": size[1]})
    for instance in instances:
        coco["annotations"].append({"id": len(coco["annotations"]) + 1, "image_id": index + 1, **instance})


def _annotation(category: int, visible: np.ndarray) -> dict[str, Any]:
    """Describe the visible part. A mask is stored as run lengths: polygons could not say every pixel."""
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(visible, np.uint8))
    return {
        "category_id": category,
        "bbox": coco_mask.toBbox(code).tolist(),  # x y width height
        "area": int(coco_mask.area(code)),
        "iscrowd": 0,
        "segmentation": {"size": list(visible.shape), "counts": code["counts"].decode("ascii")},
    }
