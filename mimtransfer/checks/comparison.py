"""From stored predictions of one or two checkpoints to their scores: read, check that they fit together, resample."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimtransfer.checks import FAIL
from mimtransfer.checks.annotations import coco_problems, read_coco
from mimtransfer.checks.detections import read_detections
from mimtransfer.errors import UserError, near_files
from mimtransfer.evaluation.comparison import average_precision, mean_iou, stored
from mimtransfer.evaluation.comparison.bootstrap import Scores, draw_counts
from mimtransfer.files import sha256_file

_NAMES = {"bbox": "box_ap", "segm": "mask_ap"}


def score_all(places: Sequence[str], ann_file: str | None, resamples: int, seed: int) -> tuple[list[Scores], int]:
    """Return the scores of each checkpoint on the same resamples, and the number of images.

    Args:
        places: of one or two, a work dir or a COCO json of results each.
        ann_file: COCO json of the ground truth; None for the one that was tested on.

    Raises:
        UserError: something is missing, damaged, or was tested on other data.
    """
    for place in places:
        if not Path(place).exists():
            raise UserError(f"{place}: no such file or folder{near_files(place)}; give a work dir of tools/test.py "
                            "--save-predictions, or a COCO json of results")
    manifests = {place: stored.read_manifest(place) for place in places if Path(place).is_dir()}
    kinds = [manifests[place].kind if place in manifests else "detection" for place in places]
    if len(set(kinds)) > 1:
        raise UserError(f"{places[0]} holds a {kinds[0]}, {places[1]} a {kinds[1]}; compare two of a kind")
    if kinds[0] == "segmentation":
        if ann_file is not None:
            raise UserError("--ann-file: a segmentation needs none, its labels are counted in its predictions")
        areas = [stored.read_areas(place) for place in places]
        if len(places) == 2:
            stored.check_same(areas[0], areas[1], (places[0], places[1]))
        counts = draw_counts(len(areas[0].images), resamples, seed)
        return [mean_iou.scores_of(one, counts) for one in areas], len(counts)
    return _score_detections(places, manifests, ann_file, resamples, seed)


def _score_detections(
    places: Sequence[str], manifests: dict[str, stored.Manifest], ann_file: str | None, resamples: int, seed: int
) -> tuple[list[Scores], int]:
    path = _ground_truth(manifests, ann_file)
    files = [_files(place, place in manifests) for place in places]
    kinds = [kind for kind in stored.KINDS if all(kind in own for own in files)]
    classes = next((manifest.classes for manifest in manifests.values()), [])
    coco = _read_truth(path, tuple(classes), "segm" in kinds)
    found = [{file: read_detections(file, coco) for file in set(own.values())} for own in files]
    kinds = [kind for kind in kinds if all(_have(found[k][files[k][kind]], kind) for k in range(len(places)))]
    if not kinds:
        raise UserError(f"{' and '.join(places)} have neither boxes nor masks both; test both with the same heads")
    categories = {category["id"]: category["name"] for category in coco["categories"]
                  if not classes or category["name"] in classes}  # fmt: skip
    counts = draw_counts(len(coco["images"]), resamples, seed)
    scores = []
    for k in range(len(places)):
        parts = []
        for kind in kinds:
            run = average_precision.evaluate(coco, found[k][files[k][kind]], kind, list(categories))
            names = [categories[i] for i in sorted(categories)]
            parts.append(average_precision.scores_of(run, counts, _NAMES[kind], names))
        scores.append(Scores({name: score for part in parts for name, score in part.metrics.items()},
                             {name: own for part in parts for name, own in part.classes.items()}))  # fmt: skip
    return scores, len(counts)


def _ground_truth(manifests: dict[str, stored.Manifest], ann_file: str | None) -> str:
    """Return the path of the annotation file, which every manifest knows by its digest."""
    if ann_file is None and not manifests:
        raise UserError("a COCO json of results does not say what it was tested on; give --ann-file JSON")
    path = ann_file or next(iter(manifests.values())).ann_file
    if not Path(path).is_file():
        raise UserError(f"annotation file {path}: no such file; give the one that was tested on, --ann-file JSON")
    digest = sha256_file(path)
    for place, manifest in manifests.items():
        if manifest.sha256 != digest:
            raise UserError(f"{place} was tested on another annotation file than {path}, or on an earlier version of "
                            "it; run tools/test.py --save-predictions again")
    if len({tuple(manifest.classes) for manifest in manifests.values()}) > 1:
        raise UserError(f"{' and '.join(manifests)} were tested with other classes; test both with the same")
    return path


def _files(place: str, is_folder: bool) -> dict[str, Path]:
    """Return kind -> file."""
    if not is_folder:
        return dict.fromkeys(stored.KINDS, Path(place))
    files = {kind: stored.detections_file(place, kind) for kind in stored.KINDS}
    return {kind: file for kind, file in files.items() if file.exists() or kind == "bbox"}


def _have(detections: list[dict[str, Any]], kind: str) -> bool:
    return not detections or ("bbox" if kind == "bbox" else "segmentation") in detections[0]


def _read_truth(path: str, classes: tuple[str, ...], masks: bool) -> dict[str, Any]:
    coco, problem = read_coco(path, "annotation file")
    if coco is None:
        assert problem is not None
        raise UserError(problem.line)
    if any(isinstance(image, dict) and "neg_category_ids" in image for image in coco["images"]):
        raise UserError(f"annotation file {path} is of LVIS, whose AP is not COCO's; compare on one of COCO's kind")
    for found in coco_problems(coco, classes, masks, evaluated=True):
        if found.level == FAIL:
            raise UserError(f"annotation file {path}: {found.line}")
    return coco
