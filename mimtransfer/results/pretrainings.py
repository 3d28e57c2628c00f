"""Which pretraining a run started from: what two runs must share to be seeds of one row of the table."""
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from mimtransfer.results.fingerprint import differences
from mimtransfer.results.protocol_check import Run


def identity(record: dict[str, Any]) -> str:
    """Return what identifies the pretraining of a transfer record, or the one that a pretraining record describes.

    Two pretrainings are the same when config (without the seed), data set, number of iterations and their own
    initialisation are; a checkpoint that no run of ours has signed is identified by its content.
    """
    if record["kind"] == "pretrain":
        config, iteration = record["protocol"]["fingerprint"], record["evaluated"]["iter"]
        return _of_run(config, record["dataset"], iteration, record["init"])
    return _of_init(record["init"])


def pretraining_run(record: dict[str, Any]) -> str | None:
    """Return the id of the pretraining run (one seed of a pretraining), or what stands for it; None for random init."""
    if record["kind"] == "pretrain":
        return record["run_id"]
    init = record["init"]
    if init["kind"] == "random":
        return None
    return (init.get("pretraining") or {}).get("run_id") or init.get("sha256") or str(init.get("path"))


def distinct_labels(
    runs: Iterable[Run], pretrainings: Mapping[str, dict[str, Any]]
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Name the rows.

    Args:
        runs: one row is made for each pretraining that is found in these.
        pretrainings: run id -> record, of those pretrainings whose own record is at hand.

    Returns:
        (label, identity) -> label of the row, with the architecture behind it where several pretrainings have the same,
        or a short code where those have the same architecture; and notes that say what differs between the latter.
    """
    by_label: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_label[run.record["label"]][identity(run.record)].append(run)
    names, notes = {}, []
    for label, found in by_label.items():
        architectures = {code: found[code][0].record["backbone"]["arch"] for code in found}
        if len(set(architectures.values())) == len(found) > 1:
            names |= {(label, code): f"{label}, {architecture}" for code, architecture in architectures.items()}
            continue
        for code in found:
            names[label, code] = label if len(found) == 1 else f"{label} [{_short(code)}]"
        if len(found) > 1:
            codes = sorted(found, key=_short)
            descriptions = [_description(found[code]) for code in codes]
            differing = _what_differs([pretraining_run(found[code][0].record) for code in codes], pretrainings)
            notes.append(
                f"{len(found)} different pretrainings are labelled {label!r}: "
                + "; ".join(f"[{_short(code)}] {text}" for code, text in zip(codes, descriptions))
                + (f". Their configs differ in {differing}" if differing else "")
                + ". Name them with RecordHook(label=...)."
            )
    return names, notes


def _of_init(init: dict[str, Any]) -> str:
    if init["kind"] == "random":
        return "random"
    origin = init.get("pretraining") or {}
    if origin.get("config_fingerprint"):
        return _of_run(origin["config_fingerprint"], origin.get("dataset"), origin.get("iter"), origin.get("init"))
    return f"file {init.get('sha256') or init.get('path')}"


def _of_run(config: str, dataset: str | None, iteration: int | None, init: dict[str, Any] | None) -> str:
    return "run " + json.dumps([config, dataset, iteration, _of_init(init or {"kind": "random"})])


def _short(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()[:6]


def _description(runs: list[Run]) -> str:
    record = runs[0].record
    if record["kind"] == "pretrain":
        return f"run {record['run_id']}, {record['dataset']}, {record['evaluated']['iter']} iterations"
    init = record["init"]
    origin = init.get("pretraining") or {}
    if origin.get("run_id"):
        return f"run {origin['run_id']}, {origin.get('dataset')}, {origin.get('iter')} iterations"
    return "no checkpoint" if init["kind"] == "random" else str(init.get("path"))


def _what_differs(run_ids: list[str | None], pretrainings: Mapping[str, dict[str, Any]]) -> str:
    """Return the config keys in which pretrainings differ whose own records are at hand."""
    known = [pretrainings[code]["protocol"]["config"] for code in run_ids if code in pretrainings]
    keys = sorted({key for other in known[1:] for key in differences(known[0], other)})
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
