"""What a config says once about images that are not RGB, put where it is read: `in_chans` and `statistics`."""
from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from mimtransfer.checkpoints.channels import check_in_chans
from mimtransfer.datasets.configured import leaves, name_of
from mimtransfer.errors import UserError

BACKBONES = ("TimmViT", "TimmSwin", "TimmCNN")
_DATASETS = ("ImageFolder", "ImageSource")  # of pretraining
_RANGED = "BandPreprocessor"


def set_bands(cfg: Config) -> None:
    """Put `in_chans` into backbone, data sets and loading steps, and the numbers of a statistics file into the
    preprocessor that names it. The config then says all that a checkpoint or a record has to know.

    Raises:
        UserError: `in_chans` is no number of channels, another one stands in one of these places, or the file cannot be
            read, holds no statistics or those of another number of channels.
    """
    in_chans = cfg.get("in_chans")
    if in_chans is not None:
        check_in_chans("config", in_chans)
        for place, node in _places(cfg):
            if node.setdefault("in_chans", in_chans) != in_chans:
                raise UserError(f"{place} has in_chans={node['in_chans']}, but the config says in_chans={in_chans}; "
                                "set the latter alone")
    _read_statistics(cfg, in_chans)


def _places(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Yield the parts of a config that ask for the number of channels."""
    model = cfg.get("model") or {}
    for key in ("encoder", "backbone"):
        if name_of(model.get(key)) in BACKBONES:
            yield f"model.{key}", model[key]
    for split in ("train", "val", "test"):
        dataset = (cfg.get(f"{split}_dataloader") or {}).get("dataset")
        for leaf in leaves(dataset) if isinstance(dataset, dict) else ():
            if name_of(leaf) in _DATASETS:
                yield f"{split}_dataloader.dataset", leaf
            for step in leaf.get("pipeline") or ():
                if name_of(step) == "LoadBands":
                    yield f"{split}_dataloader.dataset.pipeline", step


def _read_statistics(cfg: Config, in_chans: int | None) -> None:
    for owner in (cfg, cfg.get("model") or {}):
        node = owner.get("data_preprocessor")
        if not isinstance(node, dict) or node.get("statistics") is None:
            continue
        path = node["statistics"]
        if not isinstance(path, str):
            raise UserError(f"data_preprocessor.statistics is {path!r}, expected the path of a file of "
                            "tools/dataset_stats.py")
        from mimtransfer.datasets.statistics import read_statistics

        found = read_statistics(path)
        if found.in_chans != (in_chans or found.in_chans):
            raise UserError(f"data_preprocessor.statistics={path!r} is of {found.in_chans} channels, but the config "
                            f"says in_chans={in_chans}; measure these images by tools/dataset_stats.py")
        del node["statistics"]
        node["mean"], node["std"] = found.mean, found.std
        if name_of(node) == _RANGED:  # mmseg's has no use for the range
            node["low"], node["high"] = found.value_range
