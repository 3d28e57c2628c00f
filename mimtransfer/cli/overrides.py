"""Overrides of a config on the command line: applied to keys that something reads, refused for others."""
from __future__ import annotations

import inspect
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from mimtransfer.cli import labels
from mimtransfer.cli.options import read_options
from mimtransfer.errors import UserError, near_matches
from mimtransfer.training import rescale

# Keys that mmengine, or we, read from the config itself, not through an argument of Runner.
_RUNNER_KEYS = ("compile", "sync_bn", "find_unused_parameters", "activation_checkpointing", "efficient_conv_bn_eval",
                "runner_type", "tta_model", "tta_pipeline", "custom_imports", rescale.SWITCH)
# Keys that our own tools read.
_OWN_KEYS = ("in_chans", "task", "protocol", "seed", "features", "kmeans", "tokenizer", "view", "online", *labels.KEYS)


def apply_options(cfg: Config, cfg_options: list[str], path: str) -> None:
    """Apply `KEY=VALUE` overrides to a config; `path` names it in errors.

    Raises:
        UserError: an override is not `KEY=VALUE`, config and Runner know no such key, or nothing reads it.
    """
    if not cfg_options:
        return
    read = [*inspect.signature(Runner.__init__).parameters, *_RUNNER_KEYS, *_OWN_KEYS]
    known = [*cfg.keys(), *read]
    for option in cfg_options:
        key, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"--cfg-options: got {option!r}, expected KEY=VALUE without spaces")
        if value.startswith(("dict(", "{")):
            raise UserError(f"--cfg-options {option}: a value is a number, a word or a list: write {key}.type=NAME, "
                            f"and {key}._delete_=True where the other keys of {key} shall go")
        top = key.split(".")[0]
        if top not in known:
            hint = near_matches(top, known) or f"the config has {', '.join(sorted(cfg.keys()))}"
            raise UserError(f"--cfg-options {option}: {path} has no key {top!r}; {hint}")
        if top not in read:
            places = [place for name in cfg if name in read for place in _places(cfg[name], cfg[top], name)]
            rest = key.removeprefix(top)
            told = f"; set {', '.join(place + rest for place in places[:4])}" if places else ""
            raise UserError(f"--cfg-options {option}: nothing reads {top!r} any more, {path} has made its values of it "
                            f"already{told}{' ...' * (len(places) > 4)}")
    try:
        cfg.merge_from_dict(read_options(cfg_options))
    except ValueError as error:
        raise UserError(f"--cfg-options: {error}") from None


def _places(node, value, path: str) -> Iterator[str]:
    """Yield the paths below `node` at which a value stands; numbers also inside of sizes (h, w)."""
    if value is None or isinstance(value, bool) or (hasattr(value, "__len__") and not value):
        return
    size = isinstance(node, list | tuple) and bool(node) and all(type(item) is type(value) for item in node)
    if (type(node) is type(value) and node == value) or (size and set(map(repr, node)) == {repr(value)}):
        yield path
    elif isinstance(node, dict | list | tuple):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(item, value, f"{path}.{key}")
