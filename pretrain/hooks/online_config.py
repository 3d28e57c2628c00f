"""From `--online CONFIG`, or `online = dict(config=...)` in a config, to the hook that scores while pretraining."""
from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mimtransfer.cli.launch import load_config
from mimtransfer.datasets.configured import name_of
from mimtransfer.errors import UserError
from pretrain.hooks.online_evaluation import KNN, LINEAR, LINEAR_DEFAULTS
from pretrain.hooks.online_patches import patches_of


def set_online(cfg: Config, path: str | None = None) -> None:
    """Add `OnlineEvaluationHook` to a pretraining, with the data and settings of a config of frozen features.

    Args:
        cfg: of the pretraining; `cfg.online` may hold arguments of the hook, `patches` also as a config of patch k-NN,
            and `config` where no `path` is given.
        path: config of k-NN or of a linear sweep, of which the other classifier has its defaults; None: as `cfg.online`
            says, no hook where it says nothing.

    Raises:
        UserError: arguments without a config, or another kind of config.
    """
    options: dict[str, Any] = dict(cfg.pop("online", None) or {})  # read once: mmengine writes the config down
    named = options.pop("config", None)
    path = path or named
    if path is None:
        if options:
            raise UserError(f"online has {', '.join(options)} but no config; expected config=, a config of frozen "
                            "features, e.g. configs/classification/knn_vit-tiny-p4_cifar10.py")
        return
    patches = options.pop("patches", None)
    source = load_config(path, [])
    loop: dict[str, Any] = dict(source.get("test_cfg") or {})
    kind = name_of(loop)
    if kind not in ("KNNLoop", "LinearSweepLoop"):
        raise UserError(f"--online {path}: expected a config of frozen features, with test_cfg of type KNNLoop or "
                        f"LinearSweepLoop, got {loop.get('type')!r}")
    name, settings = ("knn", KNN) if kind == "KNNLoop" else ("linear", LINEAR)
    hook = dict(
        type="mimtransfer.OnlineEvaluationHook",
        memory_dataloader=loop["memory_dataloader"],
        test_dataloader=source.test_dataloader,
        pooling=source.model.get("pooling", "mean"),
        linear=LINEAR_DEFAULTS,
        patches=patches_of(patches) if isinstance(patches, str) else patches,
    )
    hook[name] = {key: loop[key] for key in settings if key in loop}
    own = Config(hook)
    own.merge_from_dict(options)  # as options of a config: `online.knn.k` leaves the temperature as it is
    others = [other for other in cfg.get("custom_hooks") or [] if name_of(other) != "OnlineEvaluationHook"]
    cfg.custom_hooks = [*others, own.to_dict()]
