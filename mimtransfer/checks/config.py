"""Check a config as a run would meet it: does it read, are the data there and sane, does the checkpoint fit."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mmengine.config import Config
from mmengine.registry import MODELS

from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checks import FAIL, OK, Finding
from mimtransfer.checks.data import data_findings
from mimtransfer.checks.settings import setting_findings
from mimtransfer.cli import launch
from mimtransfer.cli.explain import explain


def check_config(
    path: str,
    cfg_options: list[str],
    pretrained: str | None,
    num_files: int | None,
    more: Callable[[Config, int | None], Iterable[Finding]] = lambda cfg, num_files: (),
) -> Iterator[Finding]:
    """Yield what is wrong with a config, its data and the checkpoint that it starts from.

    Args:
        num_files: images and index maps decoded in each data set; None: all.
        more: checks of data that this package does not know, those of pretraining.
    """
    try:
        cfg = launch.load_config(path, cfg_options)
        launch.set_launcher(cfg, "none")
        launch.enter_scope(cfg)
        launch.set_pretrained(cfg, pretrained)
    except Exception as error:
        yield _explained(error)
        return
    wrong = list(setting_findings(cfg))
    yield from wrong
    try:
        yield from data_findings(cfg, count=num_files)
        yield from more(cfg, num_files)
    except Exception as error:
        if not wrong:  # of which it is a consequence
            yield _explained(error)
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
        return Finding(FAIL, f"the check stopped: {type(error).__name__}: {' '.join(str(error).split())}",
                       "a mistake that doctor does not know: tell the developers")
    what, _, fix = line.partition("; ")
    return Finding(FAIL, what, fix)
