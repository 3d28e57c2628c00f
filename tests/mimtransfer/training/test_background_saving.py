"""Checkpoints written while training goes on: what is in them, and what becomes of an error or a signal meanwhile."""
import errno
import os
import threading
from pathlib import Path

import break_hook  # noqa: F401  registers its hooks
import pytest
import torch
from mmengine.hooks import Hook
from toy_runner import toy_runner

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli.clean_exit import clean_exit
from mimtransfer.errors import UserError
from mimtransfer.training import checkpointing
from mimtransfer.training.background import BackgroundWriter, host_copy, write_tensors

ASYNC = {"default_hooks.checkpoint.async_save": True, "default_hooks.checkpoint.iter_interval": 2}


@pytest.fixture
def held(monkeypatch):
    """Let the writing of iter_2.pth wait for an event that the test sets."""
    gate = threading.Event()

    def wait(state, path):
        if "iter_2.pth" in path:
            gate.wait(20)
        write_tensors(state, path)

    monkeypatch.setattr(checkpointing, "write_tensors", wait)
    return gate


class DoHook(Hook):
    """Call a function after iteration `at` (from 1), before the checkpoint hook's turn."""

    def __init__(self, at, function):
        self.at, self.function = at, function

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            self.function()


def train(folder, at, function, **options):
    runner = toy_runner(folder, **ASYNC, **options)
    runner.register_hook(DoHook(at, function))
    runner.train()


def names(folder):
    return sorted(path.name for path in Path(folder).glob("*.pth"))


def test_the_file_is_that_of_mmengine(tmp_path):
    """With the optimizer, schedulers and what hooks add; its values are those of the moment of the save."""
    schedule = dict(param_scheduler=[dict(type="CosineAnnealingLR", T_max=3, by_epoch=True)])
    for background in (False, True):
        toy_runner(tmp_path / str(background), **schedule,
                   **{"default_hooks.checkpoint.async_save": background}).train()
    for epoch in (2, 3):
        one, other = (read_checkpoint(tmp_path / str(way) / f"epoch_{epoch}.pth") for way in (False, True))
        assert one.keys() == other.keys() and list(one["state_dict"]) == list(other["state_dict"])
        assert one["meta"].keys() == other["meta"].keys()
        assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
        momentum = [saved["optimizer"]["state"][0]["momentum_buffer"] for saved in (one, other)]
        assert torch.equal(*momentum)
        assert one["param_schedulers"] == other["param_schedulers"]
        assert one["message_hub"]["runtime_info"]["iter"] == other["message_hub"]["runtime_info"]["iter"]


def test_training_goes_on_meanwhile_and_a_next_save_waits(held, tmp_path):
    """Iteration 3 is trained while iter_2.pth is held back; iter_4.pth comes after it, with the pointer last."""
    seen = []
    train(tmp_path, 3, lambda: (seen.append(names(tmp_path)), held.set()))
    assert seen == [[]] and held.is_set()
    assert names(tmp_path) == ["epoch_2.pth", "epoch_3.pth"]
    assert (tmp_path / "last_checkpoint").read_text().endswith("epoch_3.pth")


def test_what_follows_changes_no_copy():
    """Tensors that share memory share it in the copy, views keep their strides, other objects are copied too."""
    table = torch.arange(12.0).view(3, 4)
    state = dict(a=table, tied=table, part=table.t()[1:], empty=torch.empty(0), numbers=[1, 2], count=torch.tensor(3))
    copied, ready = host_copy(state)
    expected = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
    ready()
    table.zero_()
    state["numbers"].append(3)
    assert all(torch.equal(copied[name], value) for name, value in expected.items()) and copied["numbers"] == [1, 2]
    assert copied["part"].stride() == state["part"].stride()
    pointers = {copied[name].untyped_storage().data_ptr() for name in ("a", "tied", "part")}
    assert len(pointers) == 1 and copied["a"].data_ptr() != table.data_ptr()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_no_room_is_one_line_at_the_next_look(code, tmp_path, monkeypatch, capsys):
    """torch's own error would be about a position in the file."""
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if "iter_6.pth" in self.file.name and self.file.tell() + len(data) > 500:
                raise OSError(code, os.strerror(code))
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

    original, seen = open, []
    monkeypatch.setattr("mimtransfer.training.background.open", lambda *args: Full(original(*args)), raising=False)
    with pytest.raises(SystemExit) as stop, clean_exit():
        train(tmp_path, 8, lambda: seen.append("trained to the next save"))
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and line.startswith(f"error: {tmp_path}/iter_6.pth cannot be written")
    assert os.strerror(code) in line and f"{tmp_path}/epoch_1.pth is whole" in line
    assert newest_checkpoint(tmp_path).name == "epoch_1.pth" and not list(tmp_path.glob(".*.part"))
    assert len(seen) <= 1


def test_a_signal_waits_for_the_file(held, tmp_path, capsys):
    """It names the file that was being written; so does the pointer."""
    def end():
        threading.Timer(0.3, held.set).start()
        os.kill(os.getpid(), 15)

    with pytest.raises(SystemExit) as stop, clean_exit():
        train(tmp_path, 3, end)
    assert stop.value.code == 143
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == f"stopped by SIGTERM; the last checkpoint is {tmp_path}/iter_2.pth, go on with --resume"


def test_an_error_of_the_training_waits_for_the_file(held, tmp_path, capsys):
    def end():
        threading.Timer(0.3, held.set).start()
        raise UserError("no more images")

    with pytest.raises(SystemExit), clean_exit():
        train(tmp_path, 3, end)
    assert capsys.readouterr().err.strip().endswith("error: no more images")
    assert newest_checkpoint(tmp_path).name == "iter_2.pth"


def test_save_on_sigterm_waits_for_its_own_file(tmp_path):
    runner = toy_runner(tmp_path, [dict(type="SignalHook", at=7)], save_on_signal=True, **ASYNC)
    with pytest.raises(SystemExit), clean_exit():
        runner.train()
    assert newest_checkpoint(tmp_path).name == "iter_7.pth"


def test_the_writer_says_once_what_went_wrong():
    writer = BackgroundWriter()

    def write():
        raise UserError("full")

    writer.start(write)
    writer._thread.join()
    with pytest.raises(UserError, match="full"):
        writer.check()
    writer.check()
    writer.wait()
