"""Test-time augmentation by mmseg's and mmdet's own means: several sizes and flips of a picture, one prediction.

A config names them as mmengine's tools do: `tta_pipeline` reads a picture several times, `tta_model` merges.
"""
from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner

from mimtransfer.datasets.configured import leaves, name_of
from mimtransfer.errors import UserError


def set_tta(cfg: Config) -> None:
    """Let the test data be read by `tta_pipeline`, and say so in the name of the protocol.

    Pipeline and name are part of the record's protocol, so its row stands in a column of its own.

    Raises:
        UserError: the config has no `tta_pipeline` or no `tta_model`, or segments by frozen patch tokens.
    """
    if name_of(cfg.model) == "FrozenMaps":
        raise UserError("--tta: predictions of frozen patch tokens are not merged; test without --tta")
    for key in ("tta_pipeline", "tta_model"):
        if cfg.get(key) is None:
            raise UserError(f"--tta: the config has no {key}; those on ADE20K, Cityscapes and iSAID (semantic) inherit "
                            "one from mmseg, others need tta_pipeline with TestTimeAug and tta_model, e.g. SegTTAModel")
    for dataset in leaves(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.tta_pipeline
    if cfg.get("protocol"):
        cfg.protocol += ", TTA"


def merge_views(runner: Runner) -> None:
    """Load the Runner's checkpoint, then wrap its model in the config's `tta_model`.

    The config keeps the model of the training: records, checks and pictures read it there.
    """
    runner.load_or_resume()
    # Inside the wrapper for several ranks: the merging model asks its module for `out_channels`.
    holder, name = (runner.model, "module") if is_model_wrapper(runner.model) else (runner, "model")
    setattr(holder, name, MODELS.build(ConfigDict(**runner.cfg.tta_model, module=getattr(holder, name))))
