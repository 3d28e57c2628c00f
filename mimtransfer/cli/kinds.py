"""What a config is for, and the command that takes it: a wrong pair is refused before anything is built."""
from __future__ import annotations

from mmengine.config import Config

from mimtransfer.datasets.configured import is_pretraining
from mimtransfer.errors import UserError

# kind -> what a config of it does, and the tool that runs it
_KINDS = {
    "pretraining": ("pretrains an encoder", "pretrain"),
    "training": ("trains a detector, a segmentor or a classifier", "train"),
    "evaluation": ("trains nothing, it evaluates features", "test"),
    "tokenizer": ("describes a tokenizer", "fit_tokenizer"),
}


def kind_of(cfg: Config) -> str | None:
    """Return "pretraining", "training", "evaluation" or "tokenizer"; None for a config that is none of them."""
    if is_pretraining(cfg):
        return "pretraining"
    if "backbone" in (cfg.get("model") or {}):
        return "training" if cfg.get("train_dataloader") else "evaluation"
    return "tokenizer" if "model" not in cfg and ("features" in cfg or "tokenizer" in cfg) else None


def check_kind(cfg: Config, path: str, *expected: str) -> None:
    """Refuse a config that another tool runs. One of no known kind passes: what it lacks is told later.

    Args:
        path: the config as the user named it.
        expected: the kinds that the tool at hand runs.

    Raises:
        UserError: the config is of another kind; names its tool.
    """
    kind = kind_of(cfg)
    if kind in (None, *expected):
        return
    does, tool = _KINDS[str(kind)]
    raise UserError(f"config {path!r} {does}; run it by python tools/{tool}.py {path}")
