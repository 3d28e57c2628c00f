"""What a record takes from the pretrained model itself: the grid of its positions, and the tokenizer it learns from."""
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mimtransfer.errors import UserError


def grid_of(runner: Runner) -> list[int] | None:
    """Return (h, w) of the position embedding: `load_backbone` cannot tell 8x2 from 4x4 patches by their number."""
    model = _model(runner)
    part = getattr(model, "backbone", None)
    grid = getattr(getattr(model, "encoder", None) if part is None else part, "grid_size", None)
    return None if grid is None else list(grid)


def normalisation_of(runner: Runner) -> dict[str, Any] | None:
    """Return how the model normalises images: `mean` and `std` in units of 0 to 255 and `channels`, `rgb` or `bgr`, the
    order in which it sees them; None when it does not normalise.
    """
    preprocessor = getattr(_model(runner), "data_preprocessor", None)
    if getattr(preprocessor, "mean", None) is None:
        return None
    # mmseg's has another name for it; mmdet and mmseg read images as BGR, ours are RGB.
    swapped = getattr(preprocessor, "channel_conversion", getattr(preprocessor, "_channel_conversion", False))
    reads_bgr = runner.cfg.get("default_scope") in ("mmdet", "mmseg")
    numbers = {key: [round(v, 3) for v in getattr(preprocessor, key).flatten().tolist()] for key in ("mean", "std")}
    return {**numbers, "channels": "bgr" if reads_bgr != swapped else "rgb"}


def tokenizer_of(runner: Runner) -> dict[str, Any] | None:
    """Return the identity of the tokenizer, or None where there is none."""
    return getattr(getattr(_model(runner), "tokenizer", None), "identity", None)


def check_tokenizer(own: Mapping | None, signed: Mapping | None) -> None:
    """Refuse to go on with another tokenizer than the checkpoint was trained with.

    Raises:
        UserError: they differ.
    """
    if own != signed:
        raise UserError(f"--resume: the checkpoint was trained with {_name(signed)}, this config has {_name(own)}; "
                        "give the tokenizer file of that run, or train anew in another work dir")


def with_tokenizer(config: dict[str, Any], identity: Mapping | None) -> dict[str, Any]:
    """Let a flattened config say the content of the tokenizer instead of where its file lies."""
    if identity is None:
        return config
    kept = {key: value for key, value in config.items() if not key.startswith("model.tokenizer.")}
    return dict(sorted([*kept.items(), *_flatten(identity, "model.tokenizer")]))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}")
    else:
        yield prefix, value


def _name(identity: Mapping | None) -> str:
    if identity is None:
        return "no tokenizer"
    content = f"sha256 {identity['sha256'][:12]}" if identity["sha256"] else identity["source"]
    return f"the {identity['type']} of {content} ({identity['num_codes']} codes)"


def _model(runner: Runner):
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
