"""FSDP and SyncBN on two gloo processes against one process with the whole batch: weights, statistics, resume."""
import pytest
import torch
from forked_tool import run_ranks
from sharded_steps import CLIPPED, MIDDLE, WRAPPER, Segmentor, alone, norms, sharded
from torch import nn

from mimtransfer.checkpoints.safe_load import read_checkpoint


def pair(function, *args):
    assert run_ranks(function, *args) == [0, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    pair(sharded, folder, "torch", False)
    pair(sharded, folder, "torch", True)
    return folder


def test_steps_are_those_of_one_process(folder):
    """With batch norm over the whole batch."""
    expected, losses = alone(WRAPPER, torch.float64)
    saved = read_checkpoint(folder / "end.pth")["state_dict"]
    assert torch.load(folder / "losses-False.pt") == pytest.approx(losses, rel=1e-9)
    assert list(saved) == list(expected)  # whole, under the model's own names
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value, rtol=0, atol=1e-9)
    Segmentor().load_state_dict(saved)
    assert expected["head.1.running_mean"].abs().max() > 0.1


def test_steps_with_clipped_gradients_in_single_precision(tmp_path):
    expected, losses = alone(CLIPPED, torch.float32)
    pair(sharded, tmp_path, "torch", False, CLIPPED, torch.float32)
    saved = read_checkpoint(tmp_path / "end.pth")["state_dict"]
    assert torch.load(tmp_path / "losses-False.pt") == pytest.approx(losses, rel=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value, rtol=1e-6, atol=1e-6)


def test_a_resumed_run_is_the_whole_run(folder):
    assert torch.load(folder / "losses-True.pt") == torch.load(folder / "losses-False.pt")[MIDDLE:]
    ends = [read_checkpoint(folder / name) for name in ("end.pth", "resumed.pth")]
    assert all(torch.equal(value, ends[1]["state_dict"][name]) for name, value in ends[0]["state_dict"].items())
    states = [end["optimizer"]["state"] for end in ends]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 10
    for name, state in states[0].items():
        assert all(torch.equal(state[key], states[1][name][key]) for key in ("step", "exp_avg", "exp_avg_sq"))


def test_without_sync_bn_the_statistics_are_others(folder, tmp_path):
    """So the tests above see the difference."""
    pair(sharded, tmp_path, None, False)
    plain, whole = (read_checkpoint(path / "end.pth")["state_dict"] for path in (tmp_path, folder))
    assert (plain["head.1.running_var"] - whole["head.1.running_var"]).abs().max() > 0.01


def test_whole_batch_statistics_and_gradients_in_flight(tmp_path):
    pair(norms, tmp_path)
    images = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    norm = nn.BatchNorm1d(3, momentum=None).double()
    out = norm(images)
    (out * torch.arange(60, dtype=torch.float64).view(5, 3, 4)).sum().backward()
    parts = [torch.load(tmp_path / f"norm-{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), out.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), images.grad)
    for part in parts:
        torch.testing.assert_close(part[2], norm.running_mean)
        torch.testing.assert_close(part[3], norm.running_var)
    for rank in range(2):
        at_step, within, at_end = torch.load(tmp_path / f"gradients-{rank}.pt")
        assert at_step is None and at_end is None
        assert {name: value.item() for name, value in within.items()} == {"a.weight": 1.5, "b.weight": 2.0}
