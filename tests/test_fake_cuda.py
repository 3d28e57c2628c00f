"""On a fake CUDA device, steps mix no devices, and the host waits for nothing."""
import pytest
import torch
from fake_cuda import HostWaits, fake_cuda
from fake_steps import pretrain_step, pretraining_kinds


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # files of tokenizers are written where configs look for them


@pytest.mark.parametrize("leaf", pretraining_kinds().values())
def test_a_pretraining_step_waits_for_nothing(leaf):
    assert not any(pretrain_step(leaf).values())


@pytest.mark.parametrize(("read", "what"), [
    (lambda x: x[0, 0].item(), "item"), (lambda x: bool((x > 0).all()), "item"), (lambda x: x.tolist(), "item"),
    (lambda x: x[x > 0], "index by a mask"), (lambda x: x.nonzero(), "nonzero"), (lambda x: x.cpu(), "to the host"),
    (lambda x: x * x.new_tensor([1.0, 2.0]), "from the host"), (lambda x: x.select(0, 0)[0].fill_(1).item(), "item"),
    (lambda x: x.__setitem__(torch.zeros(1, dtype=torch.int64, device="cuda"), 1.0), "values of the host"),
    (lambda x: x[0].__setitem__(0, 1.0), "from the host"), (lambda x: torch.unique(x), "_unique2"),
    (lambda x: x.repeat_interleave(torch.ones(2, dtype=torch.int64, device="cuda"), 0), "repeat_interleave"),
])  # fmt: skip
def test_what_waits_is_seen(read, what):
    with fake_cuda(), pytest.raises(HostWaits, match=what):
        read(torch.zeros(2, 2, device="cuda"))


def test_mixed_devices_are_refused():
    with fake_cuda(), pytest.raises(RuntimeError, match="two different devices"):
        torch.zeros(2, device="cuda") + torch.zeros(2)


def test_what_does_not_wait_passes():
    with fake_cuda() as watch:
        x = torch.zeros(2, 2).to("cuda", non_blocking=True)
        (x * 2 + torch.tensor(1.0)).masked_fill(x > 0, 1.0).where(x > 0, 0.0)
        x[x > 0] = 1.0
    assert not watch.waits


def test_gradients_are_those_of_the_engine():
    """On real tensors: shared weights, broadcasting, a function of Python, several outputs, an unused one."""
    from fake_cuda import backward

    from pretrain.methods.frequency_loss import FrequencyLoss

    torch.manual_seed(0)
    layer, scale, bias = torch.nn.Linear(8, 8), torch.rand(1, 8, requires_grad=True), torch.rand(1, requires_grad=True)
    images = torch.rand(2, 3, 8, 8)

    def loss():
        first, _, third = torch.nn.functional.layer_norm(layer(layer(images * scale)), [8]).chunk(3, 1)
        return FrequencyLoss()(first.expand(2, 3, 8, 8) + bias, images, None) + third.square().mean()

    leaves = [*layer.parameters(), scale, bias]
    expected = torch.autograd.grad(loss(), leaves)
    backward(loss())
    for leaf, gradient in zip(leaves, expected):
        torch.testing.assert_close(leaf.grad, gradient)
