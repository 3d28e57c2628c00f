"""What a conversion leaves behind: `data.json` in its folder, read by whoever trains on it."""
from __future__ import annotations

import json
import os
import os.path as osp
from dataclasses import asdict, dataclass, field
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.names import check_names
from mimtransfer.stored import read_object

MANIFEST = "data.json"
WHOLE = "all of a single set"  # `split_by` of a set that is tested and was not split
_OWN = (MANIFEST, "annotations", "masks", "maps", "lists", "folders")  # what a conversion writes
_FIX = "run tools/convert_data.py again"


@dataclass
class Split:
    """One of train, val and test."""

    images: str  # folder, absolute
    labels: str  # COCO json, folder of index maps, or class folders; below the folder of the conversion, or absolute
    num_images: int
    num_objects: int = 0
    without_objects: int = 0
    names: str = ""  # list of the images of index maps


@dataclass
class OwnData:
    """A converted data set."""

    kind: str  # detection, segmentation or classification
    format: str  # coco, voc, yolo, masks or folders
    source: str  # absolute
    folder: str  # of the conversion, absolute
    classes: tuple[str, ...]
    masks: bool  # of instances
    split_by: str  # "given", the seed and the share, or WHOLE
    splits: dict[str, Split]  # train, val and maybe test; for a test alone one of val and test
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the name of the data, for names of runs."""
        return name_of_data(self.source)

    def path(self, split: str, key: str = "labels") -> str:
        """Return the absolute path of what a split names."""
        return osp.join(self.folder, getattr(self.splits[split], key))

    def summary(self) -> list[str]:
        """Return what there is, in a few lines."""
        split = {"given": "as given", WHOLE: WHOLE}.get(self.split_by, f"split by {self.split_by}")
        extra = ", with masks" if self.masks else ""
        names = ", ".join(self.classes[:8]) + (f" ... ({len(self.classes)} in all)" if len(self.classes) > 8 else "")
        lines = [f"Data: {self.source} ({self.format}, {self.kind}{extra}), {len(self.classes)} classes: {names}"]
        for split_name, found in self.splits.items():
            counted = f"  {split_name:<5} {found.num_images} images"
            if self.kind == "detection":
                counted += f", {found.num_objects} boxes, {found.without_objects} images without objects"
            lines.append(f"{counted} ({split})")
        return lines + [f"  note: {note}" for note in self.notes]


def name_of_data(path: str) -> str:
    """Return the name of a folder or of a file; of `my_set/data.yaml` that of its folder."""
    path = osp.abspath(path)
    name = osp.splitext(osp.basename(path))[0] if osp.isfile(path) else osp.basename(path)
    return osp.basename(osp.dirname(path)) if osp.isfile(path) and name in ("data", "dataset") else name


def name_of_run(config: str, data: str | None, quick: bool) -> str:
    """Return the name of the default work dir of a run of a config, by its data and --quick."""
    parts = [osp.splitext(osp.basename(config))[0], *([] if data is None else [name_of_data(data)]), *["quick"] * quick]
    return "_".join(parts)


def check_out(out: str, source: str) -> None:
    """Refuse a folder that lies in the user's data, or holds something else than a conversion.

    Raises:
        UserError: such a folder.
    """
    real, inside = osp.realpath(out), osp.realpath(source if osp.isdir(source) else osp.dirname(osp.abspath(source)))
    if real == inside or (osp.isdir(source) and real.startswith(inside + os.sep)):
        raise UserError(f"{out}: lies in the data {source!r}, into which nothing is written; give a folder elsewhere")
    if osp.isdir(out):
        others = sorted(name for name in os.listdir(out) if name not in _OWN and not name.startswith("."))
        if others:
            raise UserError(f"{out}: holds {others[0]!r}, which no conversion writes; give a new folder")
    elif osp.exists(out):
        raise UserError(f"{out}: is a file; give a new folder")


def begin_manifest(out: str, source: str) -> None:
    """Say that labels are being written: the manifest of an earlier conversion would stand for one that is stopped."""
    os.makedirs(out, exist_ok=True)
    write_atomically(osp.join(out, MANIFEST), json.dumps({"schema": 1, "source": source, "finished": False}) + "\n")


def write_manifest(data: OwnData) -> None:
    """Write `data.json`, the last file of a conversion."""
    content = {key: value for key, value in asdict(data).items() if key != "folder"}
    write_atomically(osp.join(data.folder, MANIFEST), json.dumps({"schema": 1, **content}, indent=1) + "\n")


def read_manifest(folder: str) -> OwnData:
    """Read what a conversion has written.

    Raises:
        UserError: it is broken, or of a conversion that was stopped.
    """
    path = osp.join(folder, MANIFEST)
    if _begun(path).get("finished") is False:
        raise UserError(f"{path}: the conversion was stopped before its end; {_FIX}")
    read = read_object(path, {"schema": int, "kind": str, "format": str, "source": str, "classes": list,
                              "split_by": str, "splits": dict, "notes": list}, _FIX)
    if read["schema"] != 1 or read["kind"] not in ("detection", "segmentation", "classification"):
        raise UserError(f"{path}: schema {read['schema']}, kind {read['kind']!r} are unknown; {_FIX}")
    splits = {name: _split(value, f"{path}: split {name!r}") for name, value in read["splits"].items()
              if name in ("train", "val", "test")}
    if not {"train", "val"} <= set(splits):
        raise UserError(f"{path}: has no train and val; {_FIX}")
    return OwnData(read["kind"], read["format"], read["source"], osp.abspath(folder),
                   check_names(read["classes"], path), read.get("masks") is True, read["split_by"], splits,
                   [str(note) for note in read["notes"]])


def source_of(folder: str) -> str:
    """Return the absolute path of the user's data, also where a conversion was stopped or goes on in another process.

    Raises:
        UserError: the manifest is broken.
    """
    return _begun(osp.join(folder, MANIFEST))["source"]


def _begun(path: str) -> dict[str, Any]:
    return read_object(path, {"schema": int, "source": str}, _FIX)


def _split(value: Any, where: str) -> Split:
    kinds = {"images": str, "labels": str, "names": str, "num_images": int, "num_objects": int, "without_objects": int}
    if not isinstance(value, dict) or any(type(value.get(key)) is not kind for key, kind in kinds.items()):
        raise UserError(f"{where} does not hold {', '.join(kinds)}; {_FIX}")
    return Split(**{key: value[key] for key in kinds})
