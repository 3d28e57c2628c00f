"""What a run is called: task, method, strategy, backbone, data set and protocol, read from its config."""
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from mimtransfer.errors import UserError

RANDOM_INIT = "random init"
# What a method does unless it says otherwise is not named in a label; of those not here it is random masking.
_DEFAULT_STRATEGIES = {"MFM": "FrequencyMasking", "BEiT": "BlockMasking"}


def task_of(cfg: Mapping) -> str:
    """Return `pretrain`, `detection`, `segmentation`, or whatever the config's own field `task` says.

    Raises:
        UserError: the field is absent and the model is of no known form.
    """
    if cfg.get("task"):
        return str(cfg["task"])
    model = cfg.get("model") or {}
    if "encoder" in model and "backbone" not in model:
        return "pretrain"
    if "roi_head" in model or "bbox_head" in model:
        return "detection"
    if "decode_head" in model:
        return "segmentation"
    raise UserError(
        f"RecordHook cannot tell the task of a model with the parts {sorted(model)}: "
        "set `task = 'detection'`, `'segmentation'` or `'pretrain'` in the config"
    )


def method_of(cfg: Mapping) -> tuple[str, str | None]:
    """Return the names of the method and of its masking strategy or corruption (None for a method without)."""
    model = cfg["model"]
    strategy = model.get("strategy") or model.get("corruption")
    return short_name(model.get("type")), short_name(strategy.get("type")) if strategy else None


def label_of(method: str, strategy: str | None) -> str:
    """Return what a row is called: `MAE` for random masking, else `MAE + FAMT`; `MFM`, else `MFM + Blur`."""
    if strategy in (None, _DEFAULT_STRATEGIES.get(method, "RandomMasking")):
        return method
    return f"{method} + {strategy.removesuffix('Masking')}"


def backbone_of(cfg: Mapping) -> dict[str, str | None]:
    """Return `{"type": ..., "arch": ...}` of the encoder or backbone."""
    model = cfg.get("model") or {}
    part = model.get("backbone") or model.get("encoder") or {}
    arch = part.get("arch", part.get("depth"))
    return {"type": short_name(part.get("type")), "arch": None if arch is None else str(arch)}


def training_loader(cfg: Mapping) -> Mapping:
    """Return the config of the loader whose labels the result uses: that of the training, or the memory of k-NN."""
    return cfg.get("train_dataloader") or (cfg.get("test_cfg") or {}).get("memory_dataloader") or {}


def dataset_of(cfg: Mapping, size: int | None = None) -> str | None:
    """Return the training data in words: type, last name of its root, number of images."""
    dataset: Any = training_loader(cfg).get("dataset")
    while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
        dataset = dataset["dataset"]
    if not isinstance(dataset, Mapping):
        return None
    root = next((PurePath(str(dataset[key])).name for key in ("data_root", "root") if dataset.get(key)), "")
    words = f"{short_name(dataset.get('type'))} {root}".strip()
    return words if size is None else f"{words}, {size} images"


def protocol_of(cfg: Any) -> str:
    """Return the config's own field `protocol`, else the name of its file."""
    if cfg.get("protocol"):
        return str(cfg["protocol"])
    filename = getattr(cfg, "filename", None)
    return PurePath(filename).stem if filename else "unnamed"


def short_name(kind: Any) -> str | None:
    """Return the last part of a registered name: `mimtransfer.MAE` -> `MAE`."""
    if kind is None:
        return None
    return (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
