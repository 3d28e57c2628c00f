"""Runs that are killed, stopped, moved or out of room: what is left is whole, and the run goes on from it."""
import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import break_hook  # noqa: F401  registers its hooks
import probe_hook  # noqa: F401
import pytest
import torch
from forked_tool import start, start_tool
from kill_runs import TINY_PRETRAIN, damage, kill_a_few, losses_of
from noise_images import make_images
from toy_runner import toy_runner

from mimtransfer.checkpoints.newest import newest_checkpoint, newest_or_why
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli.clean_exit import clean_exit
from mimtransfer.errors import UserError
from mimtransfer.training import checkpointing, whole_files

PROBE = dict(type="ProbeHook")


def checkpoints(work_dir):
    return sorted(path.name for path in Path(work_dir).glob("*.pth"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs of three, uninterrupted: its work dir."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    toy_runner(folder, [PROBE]).train()
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it, at another place: its pointer names the old one."""
    subprocess.run(["cp", "-r", finished, tmp_path / "run"], check=True)
    return tmp_path / "run"


# What is gone on from


def test_a_moved_work_dir(run):
    """The pointer holds the path of the old place."""
    assert "finished" in (run / "last_checkpoint").read_text()
    assert newest_checkpoint(run) == run / "epoch_3.pth"
    assert toy_runner(run, resume="auto")._load_from == str(run / "epoch_3.pth")


@pytest.mark.parametrize("pointer", ["", "/gone/epoch_9.pth", "epoch_2.pth", "\0", None])
def test_an_empty_or_stale_or_missing_pointer(pointer, run):
    if pointer is None:
        (run / "last_checkpoint").unlink()
    else:
        (run / "last_checkpoint").write_text(pointer)
    assert newest_checkpoint(run) == run / "epoch_3.pth"
    runner = toy_runner(run, resume="auto")
    assert runner._resume and runner._load_from == str(run / "epoch_3.pth")


@pytest.mark.parametrize("how", ["cut", "empty", "middle", "text"])
def test_a_newest_file_that_is_not_whole(how, run, capsys):
    damage(run / "epoch_3.pth", how)
    newest, reasons = newest_or_why(run)
    assert newest == run / "epoch_2.pth" and len(reasons) == 1 and "epoch_3.pth" in reasons[0]
    runner = toy_runner(run, resume="auto", hooks=[PROBE])
    runner.train()
    assert sorted(json.loads((run / "probe_0.json").read_text())["losses"], key=int) == ["9", "10", "11", "12"]
    with pytest.raises(UserError, match="epoch_3") as error:
        damage(run / "epoch_3.pth", how)
        toy_runner(run, resume=str(run / "epoch_3.pth"))
    assert "\n" not in str(error.value)


def test_nothing_whole_begins_anew(run):
    for name in checkpoints(run):
        damage(run / name, "cut")
    runner = toy_runner(run, resume="auto")
    assert not runner._resume and runner._load_from is None


def test_an_older_run_in_the_same_folder_is_older(run):
    """Its numbers are higher. The time written in the files decides."""
    content = read_checkpoint(run / "epoch_3.pth")
    torch.save({**content, "meta": {**content["meta"], "time": "20200101_000000", "iter": 400}}, run / "epoch_100.pth")
    assert newest_checkpoint(run) == run / "epoch_3.pth"


# Saving


def test_two_are_kept_though_one_is_asked_for(tmp_path):
    toy_runner(tmp_path, **{"default_hooks.checkpoint.max_keep_ckpts": 1}).train()
    assert checkpoints(tmp_path) == ["epoch_2.pth", "epoch_3.pth"]


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("when", ["before", "within", "renamed"])
def test_killed_in_a_save(when, by_epoch, tmp_path, monkeypatch):
    """Whatever the moment of the third save, the second is there, and what follows is equal."""
    names = ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"] if by_epoch else ["iter_4.pth", "iter_8.pth", "iter_12.pth"]
    toy_runner(tmp_path / "whole", [PROBE], by_epoch=by_epoch).train()

    class Killed(BaseException):
        pass

    def put(self, content, path):
        if not str(path).endswith(names[2]) or when == "renamed":
            return original(self, content, path)
        if when == "within":
            Path(path).with_name(f".{Path(path).name}.part").write_bytes(content[: len(content) // 2])
        raise Killed

    def point(path, text):
        if str(text).endswith(names[2]):
            raise Killed
        return pointed(path, text)

    original, pointed = whole_files.WholeFiles.put, checkpointing.write_atomically
    options = {"default_hooks.checkpoint.max_keep_ckpts": 1}
    with monkeypatch.context() as patch:
        patch.setattr(whole_files.WholeFiles, "put", put)
        patch.setattr(checkpointing, "write_atomically", point)
        with pytest.raises(Killed):
            toy_runner(tmp_path / "run", by_epoch=by_epoch, **options).train()
    assert newest_checkpoint(tmp_path / "run").name == names[2 if when == "renamed" else 1]
    toy_runner(tmp_path / "run", [PROBE], resume="auto", by_epoch=by_epoch, **options).train()
    assert checkpoints(tmp_path / "run") == sorted(names[1:])
    assert not list((tmp_path / "run").glob(".*.part"))
    last = [read_checkpoint(tmp_path / name / names[2])["state_dict"] for name in ("whole", "run")]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_no_room_in_a_save(code, tmp_path, monkeypatch, capsys):
    """One line: what cannot be written, and what is still there."""
    original = os.replace

    def replace(source, target):
        if str(target).endswith("epoch_2.pth"):
            raise OSError(code, os.strerror(code))
        return original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(SystemExit) as stop, clean_exit():
        toy_runner(tmp_path).train()
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and line.startswith(f"error: {tmp_path}/epoch_2.pth cannot be written")
    assert os.strerror(code) in line and f"{tmp_path}/epoch_1.pth is whole" in line and "--resume" in line
    assert checkpoints(tmp_path) == ["epoch_1.pth"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EEXIST, errno.EFBIG, errno.EIO])
def test_an_os_error_anywhere_is_one_line(code, tmp_path, capsys):
    with pytest.raises(SystemExit), clean_exit():
        raise OSError(code, os.strerror(code), str(tmp_path / "log.json"))
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{tmp_path}/log.json: {os.strerror(code)}" in line


def test_the_best_checkpoint_outlives_its_successor(tmp_path):
    """The one before is removed when the new one is there; in a moved work dir, that of the new place."""
    hook = checkpointing.WholeCheckpointHook(save_best="acc", rule="greater")
    runner = toy_runner(tmp_path / "run")
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook.before_train(runner)
    hook._save_best_checkpoint(runner, {"acc": 0.5})
    runner.train_loop._epoch = 1
    hook._save_best_checkpoint(runner, {"acc": 0.4})
    assert checkpoints(tmp_path / "run") == ["best_acc_epoch_0.pth"]
    hook._save_best_checkpoint(runner, {"acc": 0.6})
    assert checkpoints(tmp_path / "run") == ["best_acc_epoch_1.pth"]


# Signals


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
@pytest.mark.usefixtures("signals_not_ignored")
def test_a_signal_is_one_line(name, status, tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, clean_exit():
        toy_runner(tmp_path, [dict(type="SignalHook", at=6, name=name)]).train()
    line = capsys.readouterr().err.strip().splitlines()[-1]
    shown = "Ctrl-C" if name == "SIGINT" else name
    assert stop.value.code == status
    assert line == f"stopped by {shown}; the last checkpoint is {tmp_path}/epoch_1.pth, go on with --resume"
    assert signal.getsignal(signal.SIGTERM) is before


def test_ignored_signals_stay_ignored(tmp_path):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with clean_exit():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("at", [1, 6, 8, 12])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_checkpoint_on_a_signal_is_gone_on_from_exactly(by_epoch, at, tmp_path, capsys):
    """Within an epoch, at its end, and with the last iteration."""
    toy_runner(tmp_path / "whole", [PROBE], by_epoch=by_epoch).train()
    with pytest.raises(SystemExit) as stop, clean_exit():
        toy_runner(tmp_path / "run", [dict(type="SignalHook", at=at)], save_on_signal=True, by_epoch=by_epoch).train()
    assert stop.value.code == 143
    newest = newest_checkpoint(tmp_path / "run")
    assert read_checkpoint(newest)["meta"]["iter"] == at
    assert capsys.readouterr().err.strip().endswith(f"the last checkpoint is {newest}, go on with --resume")
    toy_runner(tmp_path / "run", [PROBE], resume="auto", by_epoch=by_epoch).train()
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")
    names = ["epoch_2.pth", "epoch_3.pth"] if by_epoch else ["iter_12.pth", "iter_8.pth"]
    if at in (8, 12) or by_epoch:
        assert checkpoints(tmp_path / "run") == names  # that of the signal went when a regular one was there
    last = "epoch_3.pth" if by_epoch else "iter_12.pth"
    ends = [read_checkpoint(tmp_path / name / last) for name in ("whole", "run")]
    assert all(torch.equal(ends[0]["state_dict"][key], value) for key, value in ends[1]["state_dict"].items())


def test_loader_workers_draw_again_what_they_drew(tmp_path):
    """Of an iteration-based run: its augmentations come from the generators of the workers."""
    options = dict(by_epoch=False, **{"train_dataloader.num_workers": 2, "train_dataloader.persistent_workers": True})
    toy_runner(tmp_path / "whole", **options).train()
    with pytest.raises(SystemExit), clean_exit():
        toy_runner(tmp_path / "run", [dict(type="SignalHook", at=7)], save_on_signal=True, **options).train()
    toy_runner(tmp_path / "run", resume="auto", **options).train()
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")


def test_a_checkpoint_within_an_epoch_needs_its_batch(tmp_path):
    with pytest.raises(SystemExit), clean_exit():
        toy_runner(tmp_path, [dict(type="SignalHook", at=2)], save_on_signal=True).train()
    with pytest.raises(UserError, match="6 images into an epoch, which the batch of 4 images does not divide"):
        toy_runner(tmp_path, resume="auto", **{"train_dataloader.batch_size": 4}).train()


def test_no_child_is_left(tmp_path):
    """tools/pretrain.py with loader workers, stopped from outside."""
    log = tmp_path / "log"
    make_images(tmp_path / "images")
    command = [*TINY_PRETRAIN(tmp_path / "images", tmp_path / "run", epochs=200), "train_dataloader.num_workers=2",
               "train_dataloader.persistent_workers=True"]
    process = start_tool(log, *command[2:])
    end = time.monotonic() + 240
    while not (tmp_path / "run/last_checkpoint").exists() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.terminate()
    process.join(60)
    error = log.read_text()
    workers = min(2, len(os.sched_getaffinity(0)))  # at most the cores of a process
    assert process.exitcode == 143 and len(children) >= workers, error
    assert error.strip().splitlines()[-1].startswith("stopped by SIGTERM; the last checkpoint is ")
    assert "Traceback" not in error
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_second_signal_soon_after_the_first_is_the_launcher_repeating_itself(capsys):
    with pytest.raises(SystemExit) as stop, clean_exit():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143 and capsys.readouterr().err == "stopped by SIGTERM\n"


def test_short_version_of_the_kills(tmp_path):
    """Two kills of a pretraining and a full disk; `kill_runs.py` does fifty, with maps and detection."""
    log = tmp_path / "log"
    process = start(kill_a_few, str(log), str(tmp_path / "runs"))
    process.join(570)
    assert process.exitcode == 0 and "all equal" in log.read_text(), log.read_text()[-4000:]
