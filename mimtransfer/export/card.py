"""README.md of an exported folder: what the weights are, from the records of their training and transfers.

Nothing is said that no record says. The licence is left to whoever publishes: it depends on the images, too.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mimtransfer import __version__
from mimtransfer.errors import UserError
from mimtransfer.export.source import Source
from mimtransfer.results.measurement import PRIMARY
from mimtransfer.results.record import FILE_NAME, Run, is_number, read_record, read_runs
from mimtransfer.results.rows import identity
from mimtransfer.results.table import build_table

_LIBRARIES = {"huggingface": "transformers", "timm": "timm", "onnx": "onnx"}
_USES = {
    "ViTModel": """from transformers import ViTModel
model = ViTModel.from_pretrained('{out}')    # its pooler hands on the class token; or add_pooling_layer=False""",
    "ViTMAEForPreTraining": """from transformers import ViTMAEForPreTraining
model = ViTMAEForPreTraining.from_pretrained('{out}')    # masks patches anew in each call""",
    "timm": """import timm
model = timm.create_model('local-dir:{out}', pretrained=True)    # on the Hub: 'hf-hub:OWNER/NAME'""",
    "onnx": """import onnxruntime
session = onnxruntime.InferenceSession('{out}/model.onnx')
outputs = session.run(None, {{'images': images}})    # float32, normalised, [B, C, H, W]""",
    "Predictions": """import onnxruntime
session = onnxruntime.InferenceSession('{out}/model.onnx')
outputs = session.run(None, {{'images': images}})    # float32, R G B in 0 ... 255, [B, 3, H, W]; see config.json""",
    "transformers": """from transformers import AutoModel
model = AutoModel.from_pretrained('{out}')""",
}

_PIXELS = ["The graph takes the pixels of the image and normalises them itself. `config.json` says the size, the "
           "channels, how the test images were resized before (`preparation`), the classes and the outputs."]


def model_card(source: Source, to: str, written: str, name: str, records: Iterable[str | Path] = (),
               predicts: str | None = None) -> str:
    """Return the text of the card.

    Args:
        to: a kind of export, `huggingface`, `timm` or `onnx`.
        written: the line of the writer, whose first word is the model's class or name.
        name: of the folder.
        records: files or folders with `result.json` of transfers; those of this pretraining, over all of its seeds, are
            listed. A record beside the checkpoint is found without.
        predicts: the task of a whole model, which takes pixels, in the Hub's words; None for a backbone.

    Raises:
        UserError: a place without records, or runs of one protocol that differ.
    """
    signed = source.report.pretraining or {}
    own = _record_beside(source)
    title = _plain(signed.get("label") or Path(source.path).stem)
    arch = _plain(getattr(source.backbone, "arch", ""))
    parts = [
        "---", f"library_name: {_LIBRARIES[to]}", f"pipeline_tag: {predicts or 'image-feature-extraction'}",
        "tags:", "- mimtransfer", "- masked-image-modeling", "- vision",
        "# license: yours to choose; it depends on the images that were trained on, too", "---",
        f"# {title}, {arch}", "",
        f"{written.split(';')[0]}. Written by mimtransfer {__version__} from `{_plain(Path(source.path).name)}` "
        f"(sha256 `{source.report.sha256}`).", "",
        "## Training", "", *_training(source, signed, own), "",
        "## Scores", "", *_scores(source, own, records), "",
        "## Use", "", "```python", _use(to, written).format(out=name), "```", "",
        *(_PIXELS if predicts else _images(source, to)), "",
        "## Licence", "", "Not stated here: add `license:` to the head of this file before you publish it.", "",
    ]
    return "\n".join(parts)


def _training(source: Source, signed: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[str]:
    if not signed:
        return [f"The file says nothing of it ({_plain(source.report.source)})."]
    cost = _cost_of(record, signed)
    seconds, processes = _number(cost.get("wall_s")), _number(cost.get("processes")) or 1
    speed = _number(signed.get("images_per_s"))
    units = (("epoch", "epochs"), ("iter", "iterations"))
    schedule = [f"{signed[key]} {unit}" for key, unit in units if signed.get(key)]
    rows = {
        "kind": {"pretrain": "pretraining", "transfer": "transfer"}.get(str(signed.get("kind"))),
        "method": signed.get("method"), "strategy": signed.get("strategy"), "data": signed.get("dataset"),
        "trained for": ", ".join(schedule), "seed": signed.get("seed"), "run": signed.get("run_id"),
        "began with": _origin(signed.get("init")),
        "cost": None if seconds is None else
        f"{seconds * processes / 3600:.3g} device-hours on {processes} x {signed.get('device') or 'unknown device'}",
        "images a second": None if speed is None else f"{speed:.0f}",
    }
    said = [f"| {key} | {_plain(value)} |" for key, value in rows.items() if value not in (None, "")]
    return ["| | |", "|---|---|", *said]


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def _cost_of(record: Mapping[str, Any] | None, signed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost of the whole run where its record tells of these weights, else that up to the checkpoint."""
    if record is not None and record["cost"].get("wall_s") is not None:
        return dict(record["cost"])
    carried = signed.get("cost")
    return {**(carried if isinstance(carried, dict) else {}), "processes": signed.get("processes")}


def _origin(init: Any) -> str | None:
    if not isinstance(init, dict):
        return None
    before = init.get("pretraining")
    label = before.get("label") if isinstance(before, dict) else None
    return "random weights" if init.get("kind") == "random" else label or init.get("path")


def _scores(source: Source, own: dict[str, Any] | None, places: Iterable[str | Path]) -> list[str]:
    runs = _runs_of(source, places)
    known = {run.record["run_id"] for run in runs}
    if own is not None and own["kind"] == "transfer" and own["run_id"] not in known:
        runs.append(Run(FILE_NAME, own))
    runs = [run for run in runs if any(metric in run.record["metrics"] for metric in PRIMARY)]
    if not runs:
        return ["None were given. `tools/export.py --records WORK_DIRS` lists those of its transfers."]
    lines = ["| task | data | protocol | metric | mean | std | runs |", "|---|---|---|---|---:|---:|---:|"]
    for row in build_table(runs).rows:
        for column, cell in row.cells.items():
            data = ", ".join(sorted({str(run.record["dataset"]) for run in cell.runs}))
            std = "-" if cell.std is None else f"{cell.std:.2f}"
            protocol = f"{_plain(column.protocol)} `{column.fingerprint[:12]}`"
            lines.append(f"| {column.task} | {_plain(data)} | {protocol} | {_plain(column.title)} | {cell.mean:.2f} | "
                         f"{std} | {len(cell.values)} |")
    few = " One run tells direction at best." if all("| - | 1 |" in line for line in lines[2:]) else ""
    note = "The digits behind a protocol are its fingerprint: all that decides the score, but the seed."
    return [*lines, "", note + few]


def _runs_of(source: Source, places: Iterable[str | Path]) -> list[Run]:
    """Return the transfers of this pretraining, of any seed of it."""
    places = list(places)
    if not places:
        return []
    init = {"kind": "checkpoint", "sha256": source.report.sha256, "pretraining": source.report.pretraining,
            "path": source.path}
    mine = identity({"kind": "transfer", "init": init})
    found = read_runs(places)
    runs = [run for run in found if run.record["kind"] == "transfer" and run.record["init"]["kind"] == "checkpoint"
            and identity(run.record) == mine]
    if not runs:
        where = ", ".join(map(str, places))
        raise UserError(f"none of the {len(found)} records in {where} is of a transfer that began with {source.path!r} "
                        "or with another seed of it: give their work dirs, or leave --records out")
    return runs


def _record_beside(source: Source) -> dict[str, Any] | None:
    """Return the record of the run that wrote the checkpoint, where it lies beside it and tells of these weights: an
    earlier checkpoint has another score, and has cost less.
    """
    path = Path(source.path).parent / FILE_NAME
    signed = source.report.pretraining
    if not signed or not os.path.isfile(path):
        return None
    record = read_record(path)
    same = record["run_id"] == signed.get("run_id") and record["evaluated"]["iter"] == signed.get("iter")
    return record if same else None


def _use(to: str, written: str) -> str:
    model_class = written.split()[0]
    return _USES.get(model_class) or _USES["transformers" if to == "huggingface" else to]


def _images(source: Source, to: str) -> list[str]:
    height, width = source.backbone.img_size
    size = f"Made for images of {height} x {width} pixels. "
    if source.pixels is None:
        return [size + f"It takes {source.backbone.in_chans} channels; how they are normalised, the config of its "
                "training says."]
    mean, std = ([round(value / 255, 4) for value in values] for values in source.pixels)
    where = {"huggingface": " (`preprocessor_config.json`)", "timm": " (`pretrained_cfg`)"}.get(to, "")
    assumed = "" if source.cfg else " The file does not say so: it was taken for granted."
    lines = [size + f"Pixels in 0 ... 1, mean {mean}, std {std}{where}.{assumed}"]
    if to == "huggingface":
        lines += ["Transformers resamples positions for other sizes by another filter than mimtransfer: for the same "
                  "features there, export with `--img-size`."]
    return lines


def _plain(value: Any) -> str:
    """Return text on one line that ends no cell of a table and is no markup."""
    text = " ".join(str(value).split())[:200]
    for character in "\\|<>`[]":
        text = text.replace(character, f"\\{character}" if character != "`" else "'")
    return text
