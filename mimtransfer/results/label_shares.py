"""What records say of the part of the labels that a run learned from: its share, its seed, the protocol of the whole.

A subset is part of the protocol, its seed with it, so no two subsets have one fingerprint. In a table the seeds of
subsets are seeds: runs that differ in nothing else share a column.
"""
import math
import re
from collections.abc import Mapping
from typing import Any

_AMOUNTS = {"share": "share", "fraction": "share", "shots": "shots", "images_per_class": "shots"}
_KINDS = {**_AMOUNTS, "num_images": None, "list_file": None}
_TRAINING = ("train_dataloader.dataset.", "eval_cfg.memory_dataloader.dataset.")
_ENDING = re.compile(r", ([\d.e+-]+)( % of the labels| shots?| images of each class)$")


def seed_keys(config: Mapping[str, Any]) -> set[str]:
    """Return the keys of a flattened protocol that are the seed of a subset of the training data, given or not."""
    sizes = (key.rpartition(".") for key, value in config.items() if key.startswith(_TRAINING) and value is not None)
    return {f"{owner}.seed" for owner, _, name in sizes if name in _AMOUNTS}


def sample_of(record: Mapping[str, Any]) -> int | str:
    """Return what tells a run from the others of its cell: its seed, and behind a `/` that of its labels, if another.

    `-` stands for a run whose seed nobody knows.
    """
    seed, config = record["seed"], record["protocol"]["config"]
    drawn = sorted({config.get(key, 0) for key in seed_keys(config)})
    if not drawn or drawn == [seed]:
        return "-" if seed is None else seed
    return f"{'-' if seed is None else seed}/{'+'.join(map(str, drawn))}"


def seed_text(record: Mapping[str, Any]) -> str:
    """Return the seed of a run in words, with that of its labels where the config gives another one."""
    drawn = sorted({record["protocol"]["config"].get(key) for key in seed_keys(record["protocol"]["config"])} - {None})
    return f"{record['seed']}" + (f", of the labels {drawn[0]}" if drawn and drawn != [record["seed"]] else "")


def amount_of(config: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return `("share", 0.01)` or `("shots", 10)` of a flattened protocol; a share of 1 without a subset.

    None for subsets of another kind: so many images, or a list of them.
    """
    named = ((key.rpartition(".")[2], value) for key, value in config.items() if key.startswith(_TRAINING))
    found = {(_KINDS[name], value) for name, value in named if name in _KINDS and value is not None}
    kind, value = found.pop() if found else ("share", 1.0)
    return None if found or kind is None else (kind, float(value))


def of_all_labels(protocol: str) -> str:
    """Return the name of a protocol without the part of the labels that it ends with."""
    return _ENDING.sub("", protocol)


def by_labels(protocol: str) -> tuple[str, float, str]:
    """Return what sorts protocols by name, those of few labels by their number and before that of all labels."""
    found = _ENDING.search(protocol)
    return of_all_labels(protocol), float(found[1]) if found else math.inf, protocol
