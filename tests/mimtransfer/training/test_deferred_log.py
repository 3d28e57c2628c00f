"""Values that are logged later are the values that mmengine logs, in logs and in checkpoints."""
import copy
import json
import pickle

import numpy as np
import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from toy_runner import toy_runner

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.registry import HOOKS
from mimtransfer.training.deferred_log import DeferredHistory, DeferredInfoHook


@HOOKS.register_module(force=True)
class ReadingInfoHook(RuntimeInfoHook):
    """mmengine's own, under a name that `set_safeguards` leaves alone."""


def run(folder, hook, interval, window, by_epoch, resume=None):
    runner = toy_runner(folder, by_epoch=by_epoch, resume=resume, **{
        "default_hooks.runtime_info": dict(type=hook), "default_hooks.logger.interval": interval,
        "default_hooks.checkpoint.max_keep_ckpts": -1, "log_processor.window_size": window,
        "optim_wrapper.clip_grad": dict(max_norm=0.2),
    })  # fmt: skip
    runner.train()
    return runner


def logged(folder):
    lines = next(folder.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if "time" not in key} for line in lines]


def saved(path):
    hub = read_checkpoint(path)["message_hub"]
    return {key: history.data for key, history in hub["log_scalars"].items() if "time" not in key}, {
        type(history) for history in hub["log_scalars"].values()}


@pytest.mark.parametrize(("interval", "window", "by_epoch"), [(1, 1, True), (3, 2, True), (5, 50, False)])
def test_logs_and_checkpoints_are_those_of_mmengine(tmp_path, interval, window, by_epoch):
    runs = {}
    for name, hook in dict(read="ReadingInfoHook", deferred="RuntimeInfoHook").items():
        runs[name] = run(tmp_path / name, hook, interval, window, by_epoch)
    assert isinstance(next(hook for hook in runs["deferred"].hooks if isinstance(hook, RuntimeInfoHook)),
                      DeferredInfoHook)
    curves = logged(tmp_path / "read")
    assert logged(tmp_path / "deferred") == curves and {"loss", "loss_a", "grad_norm", "lr"} <= curves[0].keys()
    for file in (tmp_path / "read").glob("*.pth"):
        (expected, _), (found, kinds) = saved(file), saved(tmp_path / "deferred" / file.name)
        assert list(found) == list(expected) and kinds == {HistoryBuffer}
        for key, arrays in expected.items():
            for one, other in zip(arrays, found[key]):
                assert one.dtype == other.dtype and np.array_equal(one, other), key
    if by_epoch:
        return
    for name, hook in dict(read="ReadingInfoHook", deferred="RuntimeInfoHook").items():
        run(tmp_path / f"{name} again", hook, interval, window, by_epoch, str(tmp_path / name / "iter_8.pth"))
    assert logged(tmp_path / "deferred again") == logged(tmp_path / "read again")


def test_a_history_is_that_of_mmengine():
    values, counts = [3, 2.5, torch.tensor(1.25), torch.tensor([7.0]), torch.tensor(2, dtype=torch.bfloat16), 4, 5], [
        1, 2, 1, 3, 1, 1, 1]
    plain, deferred = HistoryBuffer(max_length=5), DeferredHistory(HistoryBuffer(max_length=5))
    for value, count in zip(values, counts):
        plain.update(value.item() if isinstance(value, torch.Tensor) else value, count)
        deferred.update(value, count)
        assert deferred.current() == plain.current()
    for method in ("mean", "min", "max"):
        assert deferred.statistics(method, 3) == plain.statistics(method, 3)
    for other in (deferred, copy.deepcopy(deferred), pickle.loads(pickle.dumps(deferred))):
        for one, expected in zip(other.data, plain.data):
            assert one.dtype == expected.dtype and one.tolist() == expected.tolist()
    assert type(copy.deepcopy(deferred)) is HistoryBuffer
    with pytest.raises(TypeError, match="got a str to log"):
        deferred.update("1")


def test_a_history_of_integers_keeps_them():
    history = DeferredHistory()
    history.update(torch.tensor(2))
    history.update(3)
    assert history.data[0].dtype == np.int64 and history.current() == 3


def test_what_nobody_asks_for_is_read_in_the_end():
    history = DeferredHistory()
    for number in range(1001):
        history.update(torch.tensor(float(number)))
    assert len(history._waiting) == 1 and history.max() == 1000 and len(history.data[0]) == 1001
