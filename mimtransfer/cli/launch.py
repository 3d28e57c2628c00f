"""From a command line to a config that is ready to run: shared by tools/{pretrain,train,test}.py."""
from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.dist import barrier, get_world_size
from mmengine.fileio import file_client
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mimtransfer.checkpoints.misfits import grouped
from mimtransfer.checkpoints.newest import newest_checkpoint, newest_or_why, why_not_whole
from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints, read_checkpoint, state_dict_of
from mimtransfer.cli.bands import set_bands
from mimtransfer.cli.labels import set_labels
from mimtransfer.cli.overrides import apply_options
from mimtransfer.datasets.configured import dicts_in
from mimtransfer.errors import UserError
from mimtransfer.openmmlab.config_bases import read_config
from mimtransfer.results.description import protocol_of
from mimtransfer.results.record import FILE_NAME, read_record
from mimtransfer.training.batch import recorded_batch
from mimtransfer.training.precision import share_gradients

# Of a config that a tool has prepared: by how many accumulated batches its base batch size is divided.
_COUNTED = "accumulation_counted"


def load_config(
    path: str, cfg_options: list[str], as_shipped: bool = False, prepare: Callable[[Config], None] | None = None
) -> Config:
    """Read a config file with its bases and apply `KEY=VALUE` overrides.

    Args:
        as_shipped: the config is only compared with what is run, so no file that it names has to be there.
        prepare: changes the config before the overrides, which have the last word.

    Raises:
        UserError: an override is not `KEY=VALUE`, config and Runner know no such key, or nothing reads it.
    """
    # CheckpointHook makes a FileClient in every run, which warns that it is deprecated, and then of its alias.
    file_client.print_log = lambda *args, **kwargs: None
    cfg = read_config(path)
    _count_anew(cfg)
    if prepare is not None:
        prepare(cfg)
    apply_options(cfg, cfg_options, path)
    set_labels(cfg)
    if not as_shipped:
        set_bands(cfg)
    for loader in dicts_in(cfg._cfg_dict):
        if loader.get("num_workers", 1) == 0:  # torch refuses what is only for worker processes
            loader.pop("persistent_workers", None)
            loader.pop("prefetch_factor", None)
    return cfg


def set_work_dir(cfg: Config, work_dir: str | None, config_path: str) -> None:
    """Set `cfg.work_dir`: the command line before the config before work_dirs/<name of the config file>.

    mmengine writes what the run resolves to into it, under the name of the config. One that lies there itself stays as
    it was written: it would be told to load a checkpoint, or to test on other data.
    """
    name = osp.splitext(osp.basename(config_path))[0]
    cfg.work_dir = work_dir or cfg.get("work_dir") or osp.join("work_dirs", name)
    if cfg.filename is not None and osp.realpath(osp.dirname(cfg.filename)) == osp.realpath(cfg.work_dir):
        cfg.protocol = protocol_of(cfg)  # by default that of the file
        folder, file = osp.split(cfg.filename)
        object.__setattr__(cfg, "_filename", osp.join(folder, f"run_{file}"))  # setattr would make it a key


def set_launcher(cfg: Config, launcher: str) -> None:
    """Set `cfg.launcher`, and replace what needs CUDA where there is none: nccl by gloo, synchronised BN by BN."""
    cfg.launcher = launcher
    if is_cuda_available():
        return
    cfg.pop("sync_bn", None)
    if launcher != "none":
        _start_cpu_processes(cfg, launcher)
    replaced = 0
    for node in dicts_in(cfg.get("model", {})):
        if node.get("type") in ("SyncBN", "MMSyncBN"):
            node["type"] = "BN"
            replaced += 1
    if replaced:
        print_log(f"No CUDA device: {replaced} SyncBN layers of the config are BN in this run", logger="current")


def _start_cpu_processes(cfg: Config, launcher: str) -> None:
    """Join the processes by gloo; mmengine would ask for a CUDA device, both in doing so and in wrapping the model."""
    if launcher != "pytorch":
        raise UserError(f"--launcher {launcher} needs CUDA devices: without them use torchrun and --launcher pytorch")
    torch.distributed.init_process_group("gloo")
    own = cfg.get("model_wrapper_cfg") or {}
    cfg.model_wrapper_cfg = {"type": "MMDistributedDataParallel", **own, "device_ids": None}
    share_gradients(cfg)


def set_resume(cfg: Config, resume: str | None) -> None:
    """Resume from a file, from the newest whole checkpoint of the work dir ("auto"), or not at all (None).

    A work dir without a whole checkpoint begins anew: with "auto" a command can be repeated until it ends.

    Raises:
        UserError: a file that is given is not there, or not whole.
    """
    allow_mmengine_checkpoints()
    if resume is None:
        return
    if resume != "auto":
        if osp.isdir(resume):
            newest = newest_checkpoint(resume)
            if newest is None:
                raise UserError(f"--resume {resume}: this folder holds no whole checkpoint")
            resume = str(newest)
        if not osp.isfile(resume):
            raise UserError(f"--resume {resume}: no such file; give a checkpoint, or no name for the newest one")
        read_checkpoint(resume)
        reason = why_not_whole(resume)
        if reason is not None:
            raise UserError(f"--resume {resume}: {reason}; give another one, or no name for the newest whole one")
        cfg.resume, cfg.load_from = True, resume
        return
    newest, reasons = newest_or_why(cfg.work_dir)
    for reason in reasons:
        print_log(f"--resume passes over {reason}", logger="current", level=logging.WARNING)
    if newest is not None:
        cfg.resume, cfg.load_from = True, str(newest)
        print_log(f"--resume goes on from {newest}", logger="current")
    else:
        cfg.resume = False
        print_log(f"--resume: {cfg.work_dir} holds no whole checkpoint: the run begins at its first iteration",
                  logger="current", level=logging.WARNING if reasons else logging.INFO)


def set_seed(cfg: Config, seed: int | None) -> None:
    """Set the seed of the run; without one, the config's, or else mmengine draws one and logs it."""
    if seed is not None:
        cfg.randomness = {**cfg.get("randomness", {}), "seed": seed}


def count_accumulation(cfg: Config) -> None:
    """Let `auto_scale_lr` count the batches that a step accumulates; mmengine counts one batch of each rank.

    How many were counted stays in the config, which mmengine writes into the work dir: read again, it is counted once.
    """
    accumulation = (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    scale: Any = cfg.get("auto_scale_lr") or {}
    if accumulation > 1 and scale.get("enable"):
        scale.base_batch_size = scale.base_batch_size / accumulation
        cfg[_COUNTED] = accumulation


def _count_anew(cfg: Config) -> None:
    """Take back what `count_accumulation` has done to a config that comes from a work dir."""
    scale: Any = cfg.get("auto_scale_lr") or {}
    counted = cfg.pop(_COUNTED, 1)
    if "base_batch_size" in scale and type(counted) is int and counted > 1:
        whole = scale.base_batch_size * counted
        scale.base_batch_size = int(whole) if whole == int(whole) else whole


def set_pretrained(cfg: Config, checkpoint: str | None) -> None:
    """Let the backbone start from a checkpoint; a file that cannot be read is refused now, before the data are loaded.

    Args:
        checkpoint: file, or work dir of a pretraining, which stands for its newest checkpoint.

    Raises:
        UserError: the file is no checkpoint, or the backbone is none of ours, which report what they loaded.
    """
    if checkpoint is None:
        return
    backbone: Any = cfg.model.get("backbone") or {}
    if str(backbone.get("type")).removeprefix("mimtransfer.") not in ("TimmViT", "TimmSwin", "TimmCNN"):
        raise UserError(f"--pretrained: the backbone is {backbone.get('type')!r}, expected mimtransfer.TimmViT, "
                        "TimmSwin or TimmCNN; set model.backbone.init_cfg in the config for other backbones")
    checkpoint = checkpoint_at(checkpoint) or checkpoint
    read_checkpoint(checkpoint)
    backbone.init_cfg = dict(type="Pretrained", checkpoint=checkpoint)


def initialisation(cfg: Config) -> str:
    """Say in one line where the backbone's weights come from."""
    init_cfg = cfg.model.backbone.get("init_cfg") or {}
    if init_cfg.get("type") == "Pretrained":
        return f"Backbone: {init_cfg['checkpoint']} (report below)"
    return "Backbone: random initialisation (no --pretrained)"


def enter_scope(cfg: Config) -> None:
    """Make mmdet's or mmseg's registries the default ones, as the Runner will; files that they read are then named."""
    scope = cfg.get("default_scope") or "mimtransfer"
    if not isinstance(scope, str):
        raise UserError(f"config: default_scope is {scope!r}, expected mimtransfer, mmdet or mmseg")
    init_default_scope(scope)
    if cfg.get("default_scope") in ("mmdet", "mmseg"):
        from mimtransfer.datasets.reading import stand_in

        stand_in(cfg.default_scope)


def checkpoint_at(path: str | None) -> str | None:
    """Let a work dir stand for its newest whole checkpoint; anything else stays as it is."""
    return str(newest_checkpoint(path) or path) if path is not None and osp.isdir(path) else path


def check_what_is_tested(cfg: Config, checkpoint: str | None, pretrained: str | None) -> int | None:
    """Refuse a checkpoint of a training for a config that trains nothing, and none or a pretraining for one that does.

    A file that cannot be read is refused now, before the data are loaded.

    Returns:
        The number of processes that trained the checkpoint, None where it does not say it.
    """
    if cfg.get("train_cfg") is None and checkpoint is not None:
        raise UserError(f"this config trains nothing, so {checkpoint!r} cannot come from it; give the checkpoint of a "
                        "pretraining as --pretrained CKPT")
    if cfg.get("train_cfg") is not None and (checkpoint is None or pretrained is not None):
        raise UserError("this config is that of a training: give the checkpoint of tools/train.py behind it, and no "
                        "--pretrained")
    if checkpoint is None:
        return None
    meta = read_checkpoint(checkpoint).get("meta")
    batch = recorded_batch(meta) if isinstance(meta, dict) else None
    return None if batch is None else batch.processes


def check_checkpoint(model: nn.Module, path: str) -> None:
    """Refuse a checkpoint that leaves any weight of the model unset, and warn of weights that the model lacks; mmengine
    would only log both.

    Raises:
        UserError: the file cannot be read, or tensors are missing or of another shape.
    """
    state = state_dict_of(read_checkpoint(path), path)
    expected = {name.removeprefix("module."): value for name, value in model.state_dict().items()}  # wrapped for ranks
    missing = [name for name in expected if name not in state]
    if missing:
        hint = "choose the config it was trained with"
        if any(name.startswith("encoder.") for name in state):
            hint = f"it is a pretraining checkpoint: run tools/train.py CONFIG --pretrained {path} first"
        raise UserError(f"checkpoint {path!r} lacks {len(missing)} of the model's {len(expected)} tensors, the first "
                        f"is {missing[0]!r}; {hint}")
    broken = [name for name, value in state.items()
              if isinstance(value, torch.Tensor) and value.is_floating_point() and torch.isnan(value).any()]
    if broken:
        raise UserError(f"checkpoint {path!r}: {len(broken)} tensors hold NaN, the first is {broken[0]!r}: the "
                        "training diverged, and a score of it means nothing; give an earlier checkpoint")
    wrong = [name for name, value in expected.items() if state[name].shape != value.shape]
    if wrong:
        name = wrong[0]
        raise UserError(f"checkpoint {path!r}: {len(wrong)} tensors have another shape than the model's, the first is "
                        f"{name!r}, got {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}; choose "
                        "the config it was trained with")
    unused = [name for name in state if name not in expected]
    if unused:
        print_log(f"checkpoint {path!r}: {len(unused)} tensors that the model does not have are not used: "
                  f"{grouped(unused)}; the config is not the one it was trained with", logger="current",
                  level=logging.WARNING)


def check_epoch(runner: Runner) -> None:
    """Refuse a training set smaller than a batch, and warn of epochs that gradient accumulation does not divide.

    Raises:
        UserError: the training set is smaller than a batch.
    """
    loader = runner.build_dataloader(runner._train_dataloader, seed=runner.seed)
    runner._train_dataloader = loader  # the Runner takes a built one as it is
    iterations, accumulation = len(loader), runner.cfg.optim_wrapper.get("accumulative_counts", 1)
    if iterations == 0:
        images, processes = len(loader.dataset), get_world_size()
        fits = images // processes
        each = f" on each of {processes} processes" if processes > 1 else ""
        way = f"give --batch {fits}, or fewer, or add images" if fits else "add images"
        raise UserError(
            f"the training set has {images} images, less than one batch of {loader.batch_size}{each}: {way}")
    if iterations % accumulation:
        print_log(
            f"an epoch has {iterations} iterations, which accumulative_counts={accumulation} does not divide: the "
            "gradients that are left over go into the next epoch, and a resume drops them, so it is not bit-exact",
            logger="current",
            level=logging.WARNING,
        )


def evaluate_if_never(runner: Runner) -> None:
    """Evaluate a trained model whose record has no metrics.

    A run that is stopped between its last step and the end of its evaluation has nothing left to train when it is
    resumed, so its loop ends without an evaluation.
    """
    barrier()  # the first rank has written the record
    path = osp.join(runner.work_dir, FILE_NAME)
    if runner.val_loop is not None and osp.isfile(path) and not read_record(path)["metrics"]:
        print_log("The training was finished, but not its evaluation: evaluating now", logger="current")
        runner.val()
