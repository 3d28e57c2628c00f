"""The protocol of a run: the part of its resolved config that decides the score, and a fingerprint of it.

Two runs may share a column of the table only when their fingerprints are equal. What says where things lie, how they
are logged or how fast they are loaded is left out, and so are the seed of the run and the initialisation, because these
are what a table compares.
"""
import hashlib
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

# The Runner reads these; every other top-level key is a variable of the file, or says where, how fast or how loud.
_TOP_LEVEL = ("model", "data_preprocessor", "train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler",
              "custom_hooks", "default_hooks")
_LEFT_OUT = frozenset([
    # where things lie
    "data_root", "root", "folder", "work_dir", "output_dir", "outfile_prefix", "backend_args",
    "file_client_args",
    "load_from", "resume", "checkpoint",
    # the initialisation
    "pretrained", "label",
    # how many unreadable images the run would go on from
    "max_corrupt",
    # how fast, at the same result
    "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "multiprocessing_context", "launcher",
    "with_cp", "grad_checkpointing", "compile_loss", "flex_attention", "fused", "foreach",
    # what is logged, and how often
    "classwise", "use_mp_eval", "print_cfg", "val_interval", "val_begin", "dynamic_intervals",
])
# Where the images lie, and who decodes them: the decoders show the same boxes, and some per cent of their values differ
# by a grey level. The record says which it was (`reading`). Elsewhere such keys are parts of a model.
_LEFT_OUT_OF_DATASETS = frozenset(["source", "decoder"])
# The seed of a run orders its images. Any other seed, of a subset, a corruption or an attack, decides what is scored.
_ORDER = frozenset(["sampler", "batch_sampler"])
# Hooks that watch a run or do what every run does. Any other may change the result (EMA, early stopping) and stays in.
OBSERVING_HOOKS = frozenset([
    "RecordHook", "ReconstructionHook", "PredictionPictureHook", "FiniteLossHook", "CheckpointHook",
    "WholeCheckpointHook", "ExactResumeHook", "ScheduleHook", "LoggerHook", "IterTimerHook", "RuntimeInfoHook",
    "DeferredInfoHook", "ParamSchedulerHook", "DistSamplerSeedHook", "EmptyCacheHook", "ProfilerHook",
    "MemoryProfilerHook", "NumClassCheckHook", "NaiveVisualizationHook", "DetVisualizationHook", "SegVisualizationHook",
    "TrackVisualizationHook", "MarkHook", "OnlineEvaluationHook", "ProgressHook",
])


def protocol_config(cfg: Mapping, evaluated: str = "val", processes: int = 1) -> dict[str, Any]:
    """Return the part of a config that defines the protocol, flattened.

    Args:
        cfg: a resolved config of mmengine, or its dictionary.
        evaluated: `val` or `test`, the loader and evaluator that gave the metrics; the other pair is left out.
        processes: number of ranks. The batch that counts is that of all ranks, so 8 x 2 images equal 1 x 16.

    Returns:
        dotted key -> string, number, boolean or None, e.g. `{"optim_wrapper.optimizer.lr": 0.0001}`. List positions are
        numbers; empty lists and dictionaries are values of their own; a dot inside a key is written as `\\.`.
    """
    cfg = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    chosen = {key: cfg[key] for key in _TOP_LEVEL if cfg.get(key) is not None}
    model = chosen.get("model")
    if isinstance(model, Mapping):
        chosen["model"] = model = _without_initialisation(model)
        if model.get("data_preprocessor") is not None:
            chosen.pop("data_preprocessor", None)  # the Runner takes the model's own first
    if isinstance(chosen.get("train_dataloader"), Mapping) and "batch_size" in chosen["train_dataloader"]:
        loader = dict(chosen["train_dataloader"])
        loader["total_batch_size"] = loader.pop("batch_size") * processes
        chosen["train_dataloader"] = loader
    for part in ("dataloader", "evaluator", "cfg"):
        value = cfg.get(f"{evaluated}_{part}")
        if isinstance(value, Mapping) and value.get("type") in ("ValLoop", "TestLoop"):
            value = {key: item for key, item in value.items() if key != "type"}
        if cfg.get("task") == "classification":
            value = _without_batch_size(value)
        if value:
            chosen[f"eval_{part}"] = value
    # When enabled, the learning rate of the optimizer is not the one in use.
    if (cfg.get("auto_scale_lr") or {}).get("enable"):
        chosen["auto_scale_lr"] = cfg["auto_scale_lr"]
    for key in ("custom_hooks", "default_hooks"):
        hooks = _without_observers(chosen.pop(key, None))
        if hooks:
            chosen[key] = hooks
    roots = sorted(set(_data_roots(cfg)), key=len, reverse=True)
    return dict(sorted(_flatten(_canonical(chosen, roots))))


def with_tokenizer(config: dict[str, Any], identity: Mapping | None) -> dict[str, Any]:
    """Let a flattened config say the content of the tokenizer instead of where its file lies."""
    if identity is None:
        return config
    kept = {key: value for key, value in config.items() if not key.startswith("model.tokenizer.")}
    return dict(sorted([*kept.items(), *_flatten(identity, "model.tokenizer")]))


def fingerprint(flat: Mapping[str, Any]) -> str:
    """Return the sha256, in hexadecimal, of a flattened config."""
    text = json.dumps(flat, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, with both values; `<absent>` where a side has no such key."""
    absent = "<absent>"
    return {
        key: (first.get(key, absent), second.get(key, absent))
        for key in sorted(first.keys() | second.keys())
        if key not in first or key not in second or first[key] != second[key]
    }


def _without_initialisation(model: Mapping) -> dict:
    model = dict(model)
    for part in ("backbone", "encoder"):
        if isinstance(model.get(part), Mapping):
            model[part] = {key: value for key, value in model[part].items() if key != "init_cfg"}
    return model


def _without_batch_size(value: Any) -> Any:
    """Leave batch sizes out: images of one size are not padded to each other, so the batch changes no score."""
    if isinstance(value, Mapping):
        return {key: _without_batch_size(item) for key, item in value.items() if key != "batch_size"}
    return value


def _without_observers(hooks: Any) -> Any:
    def acts(hook: Any) -> bool:
        return isinstance(hook, Mapping) and _name(hook.get("type")).rpartition(".")[2] not in OBSERVING_HOOKS

    def without_batch(hook: Mapping) -> dict:  # of MapBankHook, which gives the same maps in any batch
        return {key: item for key, item in hook.items() if key != "batch_size"}

    if isinstance(hooks, Mapping):
        return {key: without_batch(hook) for key, hook in hooks.items() if acts(hook)}
    return [without_batch(hook) for hook in hooks or () if acts(hook)]


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', kind)}"


def _data_roots(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "data_root" and isinstance(item, str | PurePath) and str(item) not in ("", ".", "./"):
                yield posixpath.normpath(str(item))
            else:
                yield from _data_roots(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _data_roots(item)


def _canonical(value: Any, roots: list[str], owner: str = "") -> Any:
    if isinstance(value, Mapping):
        kept = {str(key): item for key, item in value.items() if key not in _LEFT_OUT and not _initialises(key, item)}
        if owner in _ORDER:
            kept.pop("seed", None)
        if owner == "dataset":
            kept = {key: item for key, item in kept.items() if key not in _LEFT_OUT_OF_DATASETS}
        return {key: _canonical(item, roots, key) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, roots) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_canonical(item, roots) for item in value), key=repr)
    if hasattr(value, "tolist"):  # numpy numbers and arrays
        return _canonical(value.tolist(), roots)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return repr(value)
        return int(value) if value.is_integer() else value
    if isinstance(value, str | PurePath):
        return _relative(str(value), roots)
    return _name(value)


def _initialises(key: Any, item: Any) -> bool:
    if key != "init_cfg":
        return False
    return not item or (isinstance(item, Mapping) and item.get("type") == "Pretrained")


def _relative(text: str, roots: list[str]) -> str:
    """Make a path independent of where the data lies: relative to a data root, or the last name of an absolute path."""
    if "/" not in text:
        return text
    path = posixpath.normpath(text)
    for root in roots:
        if path.startswith(root + "/"):
            return path[len(root) + 1 :]
        if path == root:
            return "."
    return posixpath.basename(path) if path.startswith("/") else text.removeprefix("./").rstrip("/")


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list) and value:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            name = str(key).replace("\\", "\\\\").replace(".", "\\.")
            yield from _flatten(item, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value
