"""From a user's data to what mmdet, mmseg and our classifiers read: recognise, read, check, split, write."""
from __future__ import annotations

import os
import os.path as osp

from mimtransfer.errors import UserError
from mimtransfer.own_data.class_sets import find_class_folders, write_class_folders
from mimtransfer.own_data.coco import read_coco_set
from mimtransfer.own_data.converted import WHOLE, OwnData, check_out, read_manifest, write_manifest
from mimtransfer.own_data.masks import find_masks, read_table, table_beside
from mimtransfer.own_data.recognise import recognise
from mimtransfer.own_data.splits import VAL_SHARE, keep_tested
from mimtransfer.own_data.voc import read_voc
from mimtransfer.own_data.write_boxes import write_boxes, write_coco
from mimtransfer.own_data.write_masks import write_masks
from mimtransfer.own_data.yolo import read_yolo


def convert(
    source: str, out: str, task: str | None = None, share: float = VAL_SHARE, seed: int = 0,
    images: str | None = None, table: str | None = None, tested: bool = False,
) -> OwnData:
    """Convert a data set. Nothing is written into the source; the same source gives the same files.

    Args:
        source: folder, COCO json or data.yaml; or what a conversion has written, which is read again.
        out: folder, new or of the same conversion.
        task: detection, segmentation or classification; None: what the source fits best.
        share: of the images for validation, where the source is a single set.
        seed: of that split.
        images: folder of the images of a COCO json.
        table: file that says what values or colours of masks stand for.
        tested: the data are for a test alone. The one split that comes out is test, else val, else all of a single set.

    Raises:
        UserError: the source is of no known form, broken, or of another task.
    """
    task, form = recognise(source, task)
    if form == "converted":
        data = read_manifest(source)
        if tested:
            keep_tested(data.splits)
        if task not in ("", data.kind):
            raise UserError(f"data {source!r} are for {data.kind}, but the config is of {task}; choose a config of "
                            f"{data.kind}")
        return data
    for option, given, needed in (("--images", images, "coco"), ("--table", table, "masks")):
        if given is not None and form != needed:
            raise UserError(f"{option} is for {needed} data, these are {form}; leave it out")
    check_out(out, source)
    source, out, name = osp.abspath(source), osp.abspath(out), ""
    if form == "coco":
        coco = read_coco_set(source, None if images is None else osp.abspath(images), tested)
        if tested:
            name = keep_tested(coco.splits)
        data = write_coco(coco, source, out, share, seed)
    elif form == "masks":
        meaning = read_table(table) if table is not None else table_beside(source)
        masked = find_masks(source, tested)
        if tested:
            name = keep_tested(masked)
        elif "train" not in masked:
            masked["train"] = masked.pop("val", []) or masked.pop("test")
        data = write_masks(masked, meaning, source, out, share, seed)
    elif form == "folders":
        folders = find_class_folders(source)
        if tested:
            name = keep_tested(folders)
        data = write_class_folders(folders, source, out, share, seed)
    else:
        boxes = read_voc(source, tested) if form == "voc" else read_yolo(source, tested)
        if tested:
            name = keep_tested(boxes.splits)
        data = write_boxes(boxes, source, out, share, seed)
    if tested:
        keep_tested(data.splits)  # a set for tests alone counts as val, too, where it is trained on
        data.split_by = WHOLE if name == "train" else "given"
    os.makedirs(out, exist_ok=True)
    write_manifest(data)
    return data
