"""What every shipped config resolves to, as one digest each.

`python tests/helpers/resolved_configs.py` writes today's digests to `tests/fixtures/resolved_configs.json`. Do so only
for a change that is meant to change what runs, and say in the commit which configs changed and why.
"""
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2] / "configs"
FIXTURE = Path(__file__).parents[1] / "fixtures" / "resolved_configs.json"
LEAVES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if "_base_" not in path.parts)
# Variables of the config files themselves: no runner, hook or tool reads them from the resolved config.
HELPERS = frozenset([
    "max_iters", "max_epochs", "warmup_epochs", "image_size", "crop_size", "train_transform", "test_transform",
    "transform", "norm_cfg", "bbox_head", "coders", "embedding", "channels", "strides", "width", "num_classes",
])


def digest(cfg: Mapping) -> str:
    """Return the sha256 of a resolved config as JSON with sorted keys; tuples and lists are equal."""
    read = {key: value for key, value in cfg.items() if key not in HELPERS}
    text = json.dumps(read, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def resolve(leaf: str) -> dict:
    """Return a shipped config, e.g. `detection/NAME.py`, with its bases merged."""
    from mmengine.config import Config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, at every import
        return Config.fromfile(ROOT / leaf, import_custom_modules=False).to_dict()


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps({leaf: digest(resolve(leaf)) for leaf in LEAVES}, indent=1) + "\n")
