"""What a run and its model are called, read from the config and from the model, as records and signatures say it.

mmengine is imported only where a model is at hand, so tables can use the names without it.
"""
from collections.abc import Mapping, Sized
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mimtransfer.datasets.configured import bands_of, is_pretraining, leaves
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file
from mimtransfer.results.lineage import RANDOM_INIT, inherited, label_from

if TYPE_CHECKING:
    from mmengine.runner import Runner

# What a method does unless it says otherwise is not named in a label; of those not here it is random masking.
_DEFAULT_STRATEGIES = {"MFM": "FrequencyMasking", "BEiT": "BlockMasking", "Data2Vec2": "BlockMasking",
                       "IJEPA": "MultiBlockMasking"}
_KEY_COUNTS = ("matched", "missing", "expected_missing", "unexpected", "resized")


def task_of(cfg: Mapping) -> str:
    """Return `pretrain`, `detection`, `segmentation`, or whatever the config's own field `task` says.

    Raises:
        UserError: the field is absent and the model is of no known form.
    """
    if cfg.get("task"):
        return str(cfg["task"])
    model = cfg.get("model") or {}
    if is_pretraining(cfg):
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
    method = short_name(model.get("type"))
    assert method is not None  # the config of a model that was built names its class
    return method, short_name(strategy.get("type")) if strategy else None


def phases_of(cfg: Mapping) -> list[dict[str, Any]] | None:
    """Return the phases of a pretraining with `PhaseHook` as its config gives them; None: it has none."""
    hooks = (hook for hook in cfg.get("custom_hooks") or [] if short_name(hook.get("type")) == "PhaseHook")
    found = next(hooks, None)
    if found is None:
        return None
    return [{key: list(value) if isinstance(value, list | tuple) else value for key, value in phase.items()}
            for phase in found["phases"]]


def masks_and_phases_of(runner: "Runner") -> dict[str, Any]:
    """Return what a schedule says beside its length: `masks_per_image` above 1, and `phases`, each where there is one.
    """
    # Of the model: I-JEPA has several, though no config names them.
    masks, phases = getattr(_model(runner), "masks_per_image", 1), phases_of(runner.cfg)
    return ({"masks_per_image": masks} if masks > 1 else {}) | ({"phases": phases} if phases else {})


def names_of_pretraining(cfg: Mapping, num_images: int) -> dict[str, str | None]:
    """Return label, method, strategy and data set of a pretraining.

    Args:
        num_images: of the training set.
    """
    method, strategy = method_of(cfg)
    return {"label": label_of(method, strategy), "method": method, "strategy": strategy,
            "dataset": dataset_of(cfg, num_images)}


def names_of_transfer(cfg: Mapping, init: Mapping[str, Any], signed: str | None) -> dict[str, str | None]:
    """Return the same of a transfer: label, method and strategy are those of its pretraining.

    Args:
        init: of the record, see `initialisation`.
        signed: label in the checkpoint that is tested; None: it has none, or the run has trained.
    """
    origin = init.get("pretraining") or {}
    label = RANDOM_INIT if init["kind"] == "random" else label_from(origin) or Path(str(init.get("path"))).stem
    label = label if signed is None or inherited(signed, init) else signed
    return {"label": label, "method": origin.get("method"), "strategy": origin.get("strategy"),
            "dataset": dataset_of(cfg)}


def label_of(method: str, strategy: str | None) -> str:
    """Return the label of a row: `MAE` for random masking, else `MAE + FAMT`; `MFM`, else `MFM + Blur`."""
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
    root = next((PurePath(str(dataset[key])).name for key in ("data_root", "root", "source") if dataset.get(key)), "")
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


def grid_of(runner: "Runner") -> list[int] | None:
    """Return (h, w) of the position embedding: `load_backbone` cannot tell 8x2 from 4x4 patches by their number."""
    grid = getattr(_encoder(runner), "grid_size", None)
    return None if grid is None else list(grid)


def normalisation_of(runner: "Runner") -> dict[str, Any] | None:
    """Return how the model normalises images: `mean` and `std` in units of 0 to 255 and `channels`, `rgb` or `bgr`, the
    order in which it sees them, or their number where they are no colours; None when it does not normalise.
    """
    preprocessor = getattr(_model(runner), "data_preprocessor", None)
    if getattr(preprocessor, "mean", None) is None:
        return None
    # mmseg's has another name for it; mmdet and mmseg read images as BGR, ours are RGB.
    swapped = getattr(preprocessor, "channel_conversion", getattr(preprocessor, "_channel_conversion", False))
    reads_bgr = runner.cfg.get("default_scope") in ("mmdet", "mmseg") and not _reads_bands(runner.cfg)
    numbers = {key: [round(v, 3) for v in getattr(preprocessor, key).flatten().tolist()] for key in ("mean", "std")}
    channels = getattr(_encoder(runner), "in_chans", 3)
    if channels != 3:
        return {**numbers, "channels": str(channels)}
    return {**numbers, "channels": "bgr" if reads_bgr != swapped else "rgb"}


def _reads_bands(cfg: Mapping) -> bool:
    dataset = (cfg.get("train_dataloader") or {}).get("dataset")
    return isinstance(dataset, Mapping) and any(bands_of(leaf) is not None for leaf in leaves(dataset))


def tokenizer_of(runner: "Runner") -> dict[str, Any] | None:
    """Return the identity of the tokenizer, or None where there is none."""
    return getattr(getattr(_model(runner), "tokenizer", None), "identity", None)


def check_tokenizer(own: Mapping | None, signed: Mapping | None) -> None:
    """Refuse to go on with another tokenizer than the checkpoint was trained with.

    Raises:
        UserError: they differ.
    """
    if own != signed:
        raise UserError(f"--resume: the checkpoint was trained with {_tokenizer_text(signed)}, this config has "
                        f"{_tokenizer_text(own)}; give the tokenizer file of that run, or train anew in another work "
                        "dir")


def initialisation(runner: "Runner", loaded: tuple[str | None, Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return the field `init` of the record of a training: what its weights began as.

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
    report = getattr(_encoder(runner), "load_report", None)
    if report is not None:
        counts = {name: getattr(report, name) for name in _KEY_COUNTS}
        return {
            "kind": "checkpoint",
            "path": str(report.path),
            "sha256": report.sha256,
            "source": report.source,
            **{name: len(keys) if isinstance(keys, Sized) else int(keys) for name, keys in counts.items()},
            "pretraining": report.pretraining,
        }
    path = _pretrained_in(runner.cfg.get("model") or {})
    if path is None:
        return {"kind": "random"}
    runner.logger.warning(
        f"RecordHook: {path} was loaded without a report, so the record cannot say how much of it matched"
    )
    return _unreported(path, None)


def _unreported(path: str | None, pretraining: dict | None) -> dict[str, Any]:
    digest = sha256_file(path) if path is not None and Path(path).is_file() else None
    counts = dict.fromkeys(_KEY_COUNTS)
    return {"kind": "checkpoint", "path": path, "sha256": digest, "source": None, **counts, "pretraining": pretraining}


def _pretrained_in(model: Mapping) -> str | None:
    """Return what the config initialises a backbone from that left no report (a torchvision ResNet, say)."""
    backbone = model.get("backbone") or model.get("encoder") or {}
    for owner in (backbone, model):
        inits = owner.get("init_cfg")
        for init in inits if isinstance(inits, list | tuple) else [inits]:
            if isinstance(init, Mapping) and init.get("type") == "Pretrained" and init.get("checkpoint"):
                return str(init["checkpoint"])
        pretrained = owner.get("pretrained")
        if pretrained:
            named = isinstance(pretrained, str)
            return pretrained if named else f"{backbone.get('arch', backbone.get('type'))} (pretrained)"
    return None


def _tokenizer_text(identity: Mapping | None) -> str:
    if identity is None:
        return "no tokenizer"
    content = f"sha256 {identity['sha256'][:12]}" if identity["sha256"] else identity["source"]
    return f"the {identity['type']} of {content} ({identity['num_codes']} codes)"


def _model(runner: "Runner") -> Any:
    from mmengine.model import is_model_wrapper

    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _encoder(runner: "Runner") -> Any:
    model = _model(runner)
    backbone = getattr(model, "backbone", None)
    return getattr(model, "encoder", None) if backbone is None else backbone
