"""Check a config as a run would meet it: does it read, are the data there and sane, does the checkpoint fit."""
from __future__ import annotations

from collections.abc import Iterator

from mmengine.registry import MODELS

from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checks import FAIL, OK, Finding
from mimtransfer.checks.annotations import check_annotations
from mimtransfer.checks.data import check_data
from mimtransfer.checks.settings import wrong_settings
from mimtransfer.cli import launch
from mimtransfer.cli.explain import explain


def check_config(path: str, cfg_options: list[str], pretrained: str | None, num_maps: int) -> Iterator[Finding]:
    """Yield what is wrong with a config, its data and the checkpoint that it starts from.

    Args:
        num_maps: images and index maps opened in each data set.
    """
    try:
        cfg = launch.load_config(path, cfg_options)
        launch.set_launcher(cfg, "none")
        launch.enter_scope(cfg)
        launch.set_pretrained(cfg, pretrained)
    except Exception as error:
        yield _explained(error)
        return
    yield from (Finding(FAIL, line) for line in wrong_settings(cfg))
    sane = True
    for split in ("train", "val", "test"):
        try:
            check_data(cfg, splits=(split,))
        except Exception as error:
            sane = False
            yield _explained(error)
    if sane:
        yield Finding(OK, "data: folders, annotation files, images, classes")
        yield from check_annotations(cfg, num_maps)
    if pretrained is not None:
        try:
            backbone = MODELS.build({**cfg.model.backbone, "init_cfg": None})
            summary = load_backbone(backbone, cfg.model.backbone.init_cfg["checkpoint"]).summary()
            yield Finding(OK, summary.replace("\n", "\n       "))
        except Exception as error:
            yield _explained(error)


def _explained(error: Exception) -> Finding:
    line = explain(error)
    if line is None:
        raise error
    what, _, mend = line.partition("; ")
    return Finding(FAIL, what, mend)
