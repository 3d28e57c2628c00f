"""Go on with another batch, number of processes, length or lr: the schedule is rebuilt, not restored.

mmengine restores schedulers whole, with the end, the period and the peak lr of the run that wrote the checkpoint, and
counts its iterations on. Here the checkpoint is rewritten, before mmengine reads it, to what an uninterrupted run with
the settings of now would have saved after as many images. Weights and the optimizer's moments stay.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.datasets.label_subset import label_subsets
from mimtransfer.errors import UserError
from mimtransfer.training.batch import META_KEY, Batch, recorded_batch

# What a config sets in a parameter group. Other keys may be counters of the optimizer.
_SETTINGS = ("lr", "initial_lr", "weight_decay", "betas", "eps", "momentum", "dampening", "nesterov", "trust_coeff")
_MOVING = ("last_step", "_global_step", "_last_value", "verbose")  # of a scheduler; the rest is its setting


def continue_schedule(checkpoint: dict[str, Any], runner: Runner, batch: Batch) -> str | None:
    """Rewrite iteration, schedulers and settings of the optimizer in a checkpoint for the run that resumes it.

    Called when the checkpoint is read and before anything of it is restored. Nothing is changed when nothing differs.

    Args:
        runner: with loop, optimizer and schedulers built, and no step made.
        batch: of this run.

    Returns:
        A line for the log when anything was rewritten or had to be guessed.

    Raises:
        UserError: the schedule differs and cannot be rebuilt, since it depends on scores of the past; or the checkpoint
            is of another model, or learned from another part of the labels.
    """
    _check_parameters(checkpoint, runner)
    _check_labels(checkpoint["meta"], runner.cfg)
    meta, loop = checkpoint["meta"], runner.train_loop
    before, done = recorded_batch(meta), checkpoint["meta"]["iter"]
    iteration = _iteration(meta, before, loop, batch)
    schedulers = _lists(runner.param_schedulers)
    reasons = _differences(checkpoint, runner, schedulers)
    if before not in (None, batch):
        reasons.insert(0, f"batch {before} -> {batch}")
    unknown = ""
    if before is None and not isinstance(loop, EpochBasedTrainLoop):
        unknown = (f"The checkpoint does not say with which batch it was trained: its iteration {done} counts as if it "
                   "was the batch of now")
    if not reasons and iteration == done:
        return unknown or None
    if any(getattr(scheduler, "need_val_args", False) for scheduler in schedulers):
        raise UserError("--resume: a schedule that follows the scores (ReduceOnPlateau) cannot be rebuilt for another "
                        f"run ({'; '.join(reasons)}): resume with the settings of before")
    _replay(schedulers, iteration, len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else None)
    _write(checkpoint, runner, iteration)
    return (f"Resumed with other settings ({'; '.join(reasons) or 'iterations of an epoch'}): the schedule is rebuilt "
            f"for this run and goes on after as many images, at iteration {iteration} of {loop.max_iters} (iteration "
            f"{done} of the run before)" + (f". {unknown}" if unknown else ""))


def _check_parameters(checkpoint: Mapping[str, Any], runner: Runner) -> None:
    """Refuse the optimizer of another model: moments belong to parameters by their order."""
    sizes = [(len(old.get("params", ())), len(new["params"])) for old, new in _groups(checkpoint, runner)]
    if any(old != new for old, new in sizes):
        model = getattr(runner.model, "module", runner.model)
        absent = [name for name in model.state_dict() if name not in checkpoint["state_dict"]]
        raise UserError(f"--resume: the checkpoint is of another model: {type(model).__name__} "
                        f"{f'has {absent[0]}, which it lacks' if absent else 'trains other parameters'}; resume with "
                        "the config of before, or begin a run in another --work-dir")


def _check_labels(meta: Mapping[str, Any], cfg: Mapping[str, Any]) -> None:
    """Refuse another subset of the labels: the score would be recorded as that of images it did not learn from alone.

    A checkpoint whose config cannot be read passes.
    """
    try:
        before = label_subsets(read_values(meta["cfg"]))
    except (KeyError, TypeError, ValueError, SyntaxError, AttributeError):
        return
    now = label_subsets(cfg)
    if before != now:
        was, is_ = (", ".join(part) or "all labels" for part in (before, now))
        raise UserError(f"--resume: the checkpoint learned from {was}, this run from {is_}: give label_share or "
                        "label_shots and label_seed of before, or begin a run in another --work-dir")


def _iteration(meta: Mapping[str, Any], before: Batch | None, loop: BaseLoop, batch: Batch) -> int:
    """Return after which iteration of this run as many images were seen as in the checkpoint."""
    done = meta["iter"]
    if isinstance(loop, EpochBasedTrainLoop):
        now = len(loop.dataloader)
        epoch = meta.get("epoch") or 0
        signed = meta.get(META_KEY)
        length = signed.get("epoch_length") if isinstance(signed, Mapping) else None
        if not (type(length) is int and length > 0):
            length = done // epoch if epoch and done % epoch == 0 else now
        shown = meta.get("images_of_epoch") or 0  # saved within an epoch; ExactResumeHook passes over them
        return epoch * now + shown // batch.images if shown and now != length else round(done * now / length)
    if before is None:
        return done
    if before.images == batch.images:
        return done
    steps = round(done * before.images / batch.images_of_step)
    return steps * batch.accumulation


def _differences(checkpoint: Mapping[str, Any], runner: Runner, schedulers: list) -> list[str]:
    """Say which settings of schedulers and optimizers in the checkpoint are not those of the run."""
    found = []
    if "param_schedulers" in checkpoint and runner.param_schedulers is not None:
        saved = _lists(checkpoint["param_schedulers"])
        if len(saved) != len(schedulers):
            found.append(f"{len(saved)} -> {len(schedulers)} schedulers")
        else:
            keys = {key for old, new in zip(saved, schedulers) for key in _settings_that_differ(old, new)}
            if keys:
                found.append(f"schedule: {', '.join(sorted(keys))}")
    scheduled = {scheduler.param_name for scheduler in schedulers}
    scheduled |= {f"initial_{name}" for name in scheduled} | ({"betas"} if "momentum" in scheduled else set())
    keys = set()
    for old, new in _groups(checkpoint, runner):
        shared = (set(_SETTINGS) - scheduled) & old.keys() & new.keys()
        keys |= {key for key in shared if old[key] != new[key]}
    if keys:
        found.append(f"optimizer: {', '.join(sorted(keys))}")
    return found


def _settings_that_differ(old: Mapping[str, Any], scheduler: Any) -> set[str]:
    if getattr(scheduler, "need_val_args", False):  # its settings cannot be told from its memory
        return set()
    new, absent = scheduler.state_dict(), object()
    keys = (old.keys() | new.keys()) - set(_MOVING)
    return {key for key in keys if old.get(key, absent) != new.get(key, absent)}


def _replay(schedulers: list, iterations: int, epoch_length: int | None) -> None:
    """Step schedulers as `ParamSchedulerHook` does in so many iterations; in an iteration-based loop no epoch ends."""
    by_iter = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps of schedulers without steps of the optimizer
        for done in range(1, iterations + 1):
            for scheduler in by_iter:
                scheduler.step()
            if epoch_length and done % epoch_length == 0:
                for scheduler in by_epoch:
                    scheduler.step()


def _write(checkpoint: dict[str, Any], runner: Runner, iteration: int) -> None:
    schedulers = runner.param_schedulers
    if isinstance(schedulers, dict):
        checkpoint["param_schedulers"] = {
            name: [scheduler.state_dict() for scheduler in part] for name, part in schedulers.items()
        }
    elif schedulers is not None:
        checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]
    names = {*_SETTINGS, *(scheduler.param_name for scheduler in _lists(schedulers))}
    for old, new in _groups(checkpoint, runner):
        for key in {*names, *(f"initial_{name}" for name in names)} & new.keys():
            old[key] = new[key]
    checkpoint["meta"]["iter"] = iteration
    _forget_later_files(checkpoint, runner, iteration)


def _forget_later_files(checkpoint: dict[str, Any], runner: Runner, iteration: int) -> None:
    """Take files of later iterations off the list of those to be pruned: this run will give their names again.

    `WholeCheckpointHook` looks after that itself, mmengine's hook would remove the new file for the old one.
    """
    names_iterations = any(type(hook) is CheckpointHook and not hook.by_epoch for hook in runner.hooks)
    info = (checkpoint.get("message_hub") or {}).get("runtime_info") or {}
    if names_iterations and "keep_ckpt_ids" in info:
        info["keep_ckpt_ids"] = [step for step in info["keep_ckpt_ids"] if step <= iteration]


def _groups(checkpoint: Mapping[str, Any], runner: Runner) -> Iterable[tuple[dict, dict]]:
    """Yield parameter groups: in the checkpoint, and of the run."""
    wrapper, saved = runner.optim_wrapper, checkpoint.get("optimizer")
    if saved is None:
        return
    wrappers: Iterable[tuple[OptimWrapper, dict]] = [(wrapper, saved)]
    if isinstance(wrapper, OptimWrapperDict):
        wrappers = [(one, saved[name]) for name, one in wrapper.items() if name in saved]
    for one, state in wrappers:
        yield from zip(state["param_groups"], one.optimizer.param_groups)
        if "base_param_settings" in state and one.base_param_settings is not None:
            yield state["base_param_settings"], one.base_param_settings


def _lists(schedulers: Any) -> list:
    """Return schedulers, or their states, as one list: they come as a list, or as one for each of some optimizers."""
    if isinstance(schedulers, Mapping):
        return [scheduler for name in sorted(schedulers) for scheduler in schedulers[name]]
    return list(schedulers or ())
