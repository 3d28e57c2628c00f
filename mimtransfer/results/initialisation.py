"""Where a run's weights began, as a record says it."""
import logging
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mimtransfer.results.provenance import sha256_file


def initialisation(runner: Runner, loaded: tuple[str | None, Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return the field `init` of a training's record.

    Args:
        runner: its model is built and initialised.
        loaded: path and meta of a checkpoint that the Runner loaded into the whole model (`load_from`), if any.

    Returns:
        `{"kind": "random"}`, or kind `checkpoint` with path, sha256, source, the numbers of matched, missing,
        expected-missing, unexpected and resized keys, and what the checkpoint says of its pretraining. The numbers are
        None where a library other than ours did the loading.
    """
    if loaded is not None:
        path, meta = loaded
        return _unreported(path, meta.get("mimtransfer"))
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    part = getattr(model, "backbone", None)
    if part is None:
        part = getattr(model, "encoder", None)
    report = getattr(part, "load_report", None)
    if report is not None:
        counts = {
            name: _count(getattr(report, name))
            for name in ("matched", "missing", "expected_missing", "unexpected", "resized")
        }
        return {
            "kind": "checkpoint",
            "path": str(report.path),
            "sha256": report.sha256,
            "source": report.source,
            **counts,
            "pretraining": report.pretraining,
        }
    path = _pretrained_in(runner.cfg.get("model") or {})
    if path is None:
        return {"kind": "random"}
    print_log(
        f"RecordHook: {path} was loaded without a report, so the record cannot say how much of it matched",
        "current",
        logging.WARNING,
    )
    return _unreported(path, None)


def _unreported(path: str | None, pretraining: dict | None) -> dict[str, Any]:
    counts = dict.fromkeys(("matched", "missing", "expected_missing", "unexpected", "resized"))
    digest = sha256_file(path) if path is not None and Path(path).is_file() else None
    return {"kind": "checkpoint", "path": path, "sha256": digest, "source": None, **counts, "pretraining": pretraining}


def _pretrained_in(model: Mapping) -> str | None:
    """Return what the config initialises a backbone from that left no report (a torchvision ResNet, say)."""
    backbone = model.get("backbone") or model.get("encoder") or {}
    for owner in (backbone, model):
        for init in _as_list(owner.get("init_cfg")):
            if isinstance(init, Mapping) and init.get("type") == "Pretrained" and init.get("checkpoint"):
                return str(init["checkpoint"])
        if owner.get("pretrained"):
            return (
                owner["pretrained"]
                if isinstance(owner["pretrained"], str)
                else f"{backbone.get('arch', backbone.get('type'))} (pretrained)"
            )
    return None


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _count(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else int(value)
