"""Checkpoints within an epoch: a run that goes on from one is the run that was never stopped."""
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import toy_runner as toys
from mmengine.hooks import Hook
from toy_runner import toy_runner

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS
from mimtransfer.training import checkpointing, whole_files

CHECKPOINT = "default_hooks.checkpoint."
# Logged and smoothed over more than an epoch has left after a resume.
LOGS = {"default_hooks.logger.interval": 3, "log_processor.window_size": 4}


@pytest.fixture(autouse=True, scope="module")
def configs_as_they_are():
    """Write configs into checkpoints without making them pretty, half of the time of these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmengine.config.config.FormatCode", lambda code, **options: (code, False))
        yield


class Killed(BaseException):
    pass


@HOOKS.register_module(force=True)
class EndHook(Hook):
    """End the run before iteration `at` (from 1)."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at:
            raise Killed


def run(work_dir, end=None, **options):
    hooks = [dict(type="EndHook", at=end)] if end else []
    runner = toy_runner(work_dir, hooks, resume="auto", **{**LOGS, **options})
    if end is None:
        runner.train()
        return
    with pytest.raises(Killed):
        runner.train()
    for hook in runner.hooks:
        if isinstance(hook, checkpointing.WholeCheckpointHook):
            hook._writer.wait()  # as the end of the process does


def logged(work_dir):
    """Return the lines of the log by iteration, without times; of a line that came twice, the last."""
    found = {}
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime_ns):
        for line in path.read_text().splitlines():
            values = {key: value for key, value in json.loads(line).items() if "time" not in key and key != "memory"}
            found[values["step"]] = values
    return found


def content(path):
    """Return what a checkpoint holds of the training: everything but times and names."""
    saved = read_checkpoint(path)
    scalars = {key: buffer.data[0].tolist() for key, buffer in saved["message_hub"]["log_scalars"].items()
               if "time" not in key and "memory" not in key}
    return flat(dict(weights=saved["state_dict"], optimizer=saved["optimizer"], logged=scalars,
                     schedule=saved.get("param_schedulers"), at=[saved["meta"][key] for key in ("epoch", "iter")]))


def flat(value, name=""):
    """Return dotted name -> number, list of numbers or text."""
    if isinstance(value, dict):
        return {key: leaf for part in value for key, leaf in flat(value[part], f"{name}.{part}").items()}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value}


WORKERS = {"train_dataloader.num_workers": 2, "train_dataloader.persistent_workers": True,
           "train_dataloader.prefetch_factor": 2}


@pytest.mark.parametrize(("options", "end", "begins"), [
    ({CHECKPOINT + "iter_interval": 2}, 8, 6),
    ({CHECKPOINT + "iter_interval": 3, CHECKPOINT + "async_save": True, **WORKERS}, 8, 6),
    ({CHECKPOINT + "by_epoch": False, CHECKPOINT + "interval": 3}, 11, 9),
    # 12 batches are 2 steps and a part: the epochs of 4 end within a step, a checkpoint waits for the end of one.
    ({CHECKPOINT + "iter_interval": 2, "optim_wrapper.accumulative_counts": 5}, 7, 5),
    ({CHECKPOINT + "iter_interval": 100, "optim_wrapper.accumulative_counts": 3}, 6, 4),
], ids=["epochs", "workers", "iterations", "accumulated", "gradients"])
def test_a_resumed_run_is_the_whole_run(options, end, begins, tmp_path, monkeypatch):
    run(tmp_path / "whole", **options)
    run(tmp_path / "run", end, **options)
    newest = newest_checkpoint(tmp_path / "run")
    assert read_checkpoint(newest)["meta"]["iter"] == begins
    shown, original = [], toys.ToyNumbers.__getitem__
    monkeypatch.setattr(toys.ToyNumbers, "__getitem__", lambda self, item: shown.append(item) or original(self, item))
    run(tmp_path / "run", **options)
    if "train_dataloader.num_workers" not in options:
        assert len(shown) == 3 * (12 - begins)  # no image of before was loaded
    names = [sorted(path.name for path in (tmp_path / part).glob("*.pth")) for part in ("whole", "run")]
    assert names[0] == names[1]
    for name in names[0]:
        assert content(tmp_path / "run" / name) == content(tmp_path / "whole" / name), name
    assert logged(tmp_path / "run") == logged(tmp_path / "whole") and len(logged(tmp_path / "run")) > 1


def kept(work_dir):
    return {path.name for path in work_dir.glob("*.pth")}


def test_two_are_there_at_any_time_and_those_within_an_epoch_go(tmp_path):
    seen = []

    class LookHook(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(kept(tmp_path))

    runner = toy_runner(tmp_path, **{CHECKPOINT + "iter_interval": 1, CHECKPOINT + "max_keep_ckpts": 1})
    runner.register_hook(LookHook())
    runner.train()
    assert seen[:3] == [{"iter_1.pth"}, {"iter_1.pth", "iter_2.pth"}, {"iter_2.pth", "iter_3.pth"}]
    assert seen[4] == {"epoch_1.pth", "iter_5.pth"} and seen[5] == {"epoch_1.pth", "iter_5.pth", "iter_6.pth"}
    assert kept(tmp_path) == {"epoch_2.pth", "epoch_3.pth"}


def test_a_checkpoint_that_is_due_with_an_epoch_holds_what_follows_the_epoch(tmp_path):
    """Its schedulers have made their step, and it is no second file beside that of the epoch."""
    options = {CHECKPOINT + "iter_interval": 4, CHECKPOINT + "interval": 2}
    schedule = dict(param_scheduler=[dict(type="MultiStepLR", milestones=[1, 2], by_epoch=True, gamma=0.5)])
    run(tmp_path, 6, **options, **schedule)
    assert kept(tmp_path) == {"iter_4.pth"}
    saved = read_checkpoint(tmp_path / "iter_4.pth")
    assert (saved["meta"]["epoch"], saved["meta"]["iter"], "images_of_epoch" in saved["meta"]) == (1, 4, False)
    assert saved["param_schedulers"][0]["last_step"] == 1
    run(tmp_path, 10, **options, **schedule)
    assert "epoch_2.pth" in kept(tmp_path) and "iter_8.pth" not in kept(tmp_path)


def test_the_data_of_another_sampler_cannot_be_gone_on_with(tmp_path):
    options = {CHECKPOINT + "iter_interval": 2, "train_dataloader.sampler.type": "DefaultSampler"}
    with pytest.raises(UserError, match="only an EpochSampler can go on within an epoch"):
        toy_runner(tmp_path, **options).train()


@pytest.mark.parametrize(("options", "says"), [
    (dict(iter_intervall=2), "takes no key 'iter_intervall'; did you mean 'iter_interval'"),
    (dict(iter_interval=0), "got iter_interval=0, by_epoch=True; expected 1 or more"),
    (dict(iter_interval=2, by_epoch=False), "beside checkpoints by epochs"),
])
def test_options_without_meaning(options, says):
    with pytest.raises(UserError, match=says):
        checkpointing.WholeCheckpointHook(**options)


# Killed in a save


def kill_at(moment, name):
    """Let this process end by SIGKILL in the save of a file, wherever it is written."""
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def before(function, matches):
        return lambda *args, **options: kill() if matches(*args) else function(*args, **options)

    if moment == "begun":
        whole_files.os.fsync = kill_half(whole_files.os.fsync, name, kill)
    elif moment == "written":
        os.replace = before(os.replace, lambda source, target: str(target).endswith(name))
    elif moment == "renamed":
        checkpointing.write_atomically = before(checkpointing.write_atomically, lambda _, text: text.endswith(name))
    else:
        hook = checkpointing.WholeCheckpointHook
        hook._remove_all = before(hook._remove_all, lambda self, names: self.last_ckpt.endswith(name))


def kill_half(fsync, name, kill):
    def half(number):
        if os.readlink(f"/proc/self/fd/{number}").endswith(f".{name}.part"):
            os.ftruncate(number, os.fstat(number).st_size // 2)
            kill()
        return fsync(number)
    return half


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder, **{CHECKPOINT + "iter_interval": 2})
    return folder


@pytest.mark.parametrize("background", [False, True], ids=["waiting", "background"])
@pytest.mark.parametrize(("moment", "left"), [("begun", 4), ("written", 4), ("renamed", 6), ("pointed", 6)])
def test_killed_in_a_save(moment, left, background, whole, tmp_path):
    """A process of its own, killed by SIGKILL in the save after iteration 6; what it leaves is gone on from."""
    options = {CHECKPOINT + "iter_interval": 2, CHECKPOINT + "async_save": background}
    pid = os.fork()
    if not pid:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            kill_at(moment, "iter_6.pth")
            run(tmp_path, **options)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    newest = newest_checkpoint(tmp_path)
    assert read_checkpoint(newest)["meta"]["iter"] == left
    assert bool(list(tmp_path.glob(".*.part"))) == (left == 4)
    run(tmp_path, **options)
    assert not list(tmp_path.glob(".*.part")) and kept(tmp_path) == kept(whole)
    assert content(tmp_path / "epoch_3.pth") == content(whole / "epoch_3.pth")
