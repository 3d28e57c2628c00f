"""What a test writes beside its record: all predictions, as a pickle or for tools/compare_scores.py."""
from __future__ import annotations

import os.path as osp
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.registry import METRICS
from mmengine.runner import Runner

from mimtransfer.errors import UserError
from mimtransfer.evaluation.comparison import stored
from mimtransfer.evaluation.comparison.pixel_areas import PixelAreas


def check_out(out: str | None) -> None:
    """Refuse a name for the predictions that mmengine would refuse after the run."""
    if out is not None and not out.endswith((".pkl", ".pickle")):
        raise UserError(f"--out {out}: expected a name that ends in .pkl")


def write_predictions(runner: Runner, out: str | None) -> None:
    """Let the Runner's test write all predictions to `out`, masks as RLE. The config, hence the record, stays."""
    if out is None:
        return
    dump = "mmdet.DumpDetResults" if runner.cfg.get("default_scope") == "mmdet" else "DumpResults"
    runner.test_loop.evaluator.metrics.append(METRICS.build(dict(type=dump, out_file_path=out)))


def save_predictions(runner: Runner) -> None:
    """Let the Runner's test write what tools/compare_scores.py reads into the work dir. The config stays.

    Raises:
        UserError: the evaluator has neither a CocoMetric with an annotation file nor an IoUMetric, or a part of the
            images is tested, which the predictions of a detector do not tell.
    """
    if is_main_process():
        for name in (stored.MANIFEST, stored.AREAS, *(f"predictions.{kind}.json" for kind in stored.KINDS)):
            Path(runner.work_dir, name).unlink(missing_ok=True)  # a test that is stopped leaves no older ones behind
    evaluator = runner.test_loop.evaluator
    said = runner.cfg.test_evaluator
    said = list(said) if isinstance(said, list | tuple) else [said]
    classes = list((evaluator.dataset_meta or {}).get("classes") or ())
    for metric, own in zip(list(evaluator.metrics), said):
        kind = type(metric).__name__
        if kind == "CocoMetric" and own.get("ann_file"):
            _check_whole(len(runner.test_loop.dataloader.dataset), len(metric._coco_api.get_img_ids()), own["ann_file"])
            metric.outfile_prefix = osp.join(runner.work_dir, "predictions")
            if is_main_process():
                stored.write_manifest(runner.work_dir, "detection", classes, own["ann_file"])
            return
        if kind == "IoUMetric":
            areas = PixelAreas(osp.join(runner.work_dir, stored.AREAS), metric)
            areas.dataset_meta = evaluator.dataset_meta
            evaluator.metrics.append(areas)
            if is_main_process():
                stored.write_manifest(runner.work_dir, "segmentation", classes)
            return
    kinds = ", ".join(type(metric).__name__ for metric in evaluator.metrics)
    raise UserError(f"--save-predictions: test_evaluator is {kinds}, expected a CocoMetric with an ann_file, or an "
                    "IoUMetric")


def _check_whole(tested: int, annotated: int, ann_file: str) -> None:
    if tested != annotated:
        raise UserError(f"--save-predictions: {tested} images are tested, {ann_file} lists {annotated}, and those "
                        "without detections count in AP; test all of them (test_dataloader.dataset)")
