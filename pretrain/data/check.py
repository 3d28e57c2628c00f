"""Look at the images of a pretraining before the run: which are left out, and can a sample of them be decoded.

`image_findings` is the one list of checks. `tools/doctor.py` prints it; `check_images`, the tool's own look before it
starts, stops at its first FAIL and logs its warnings.
"""
import logging
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from PIL import Image

from mimtransfer.checks import FAIL, OK, WARN, Finding
from mimtransfer.checks.image_files import spread, unreadable_images
from mimtransfer.datasets.configured import dataset_class
from mimtransfer.datasets.tree import printable
from mimtransfer.errors import UserError
from pretrain.data.decoding import UnreadableImage
from pretrain.data.images import PretrainImages

_DECODED = 16  # before a run; a run itself goes on from `max_corrupt` of them


def check_images(dataset: PretrainImages) -> None:
    """Decode a few images of a training set before the run, and log what is strange; what is left out was logged.

    Raises:
        UserError: more of them cannot be read than the data set goes on from, in the line that doctor has for it.
    """
    for found in _unreadable(dataset, _DECODED):
        if found.level == FAIL:
            raise UserError(found.line)
        print_log(found.line, logger="current", level=logging.WARNING)


def image_findings(cfg: Config, count: int | None) -> Iterator[Finding]:
    """Yield what is wrong with the images of a pretraining config; nothing of another config.

    Args:
        count: images decoded, spread evenly; None: all.
    """
    config = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    try:
        kind = dataset_class(config)
    except (UserError, KeyError):  # told with the settings
        return
    if not issubclass(kind, PretrainImages):
        return
    try:
        dataset = DATASETS.build(config)
    except UserError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(FAIL, what, fix)
        return
    left_out = getattr(dataset, "left_out", [])
    yield from (Finding(WARN, line) for line in left_out)
    broken = list(_unreadable(dataset, count))
    yield from broken
    if not broken and not left_out:
        yield Finding(OK, f"train data: {len(dataset)} images")


def _unreadable(dataset: PretrainImages, count: int | None) -> Iterator[Finding]:
    broken = []
    for k in spread(range(len(dataset)), count):
        try:
            image = dataset.open(k)
            size = image.height, image.width
            image.pixels((0, 0, *size), size, Image.Resampling.BICUBIC)
        except UnreadableImage as error:
            broken.append(f"{printable(dataset.name(k))} ({error})")
    for found in unreadable_images(broken, dataset.max_corrupt, "images of the train data"):
        yield found._replace(fix="repair or remove them, or raise max_corrupt of the data set")
