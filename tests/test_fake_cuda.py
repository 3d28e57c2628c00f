"""On a fake CUDA device, steps mix no devices, and the host waits for nothing."""
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import HostWaits, fake_cuda
from fake_steps import classify, pretrain_step, pretraining_kinds
from shipped_configs import ROOT


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # files of tokenizers are written where configs look for them


@pytest.mark.parametrize("leaf", pretraining_kinds().values())
def test_a_pretraining_step_waits_for_nothing(leaf):
    assert not any(pretrain_step(leaf).values())


def test_crops_are_resized_without_waiting():
    assert not any(pretrain_step("debug/mae_vit-debug_2e_folder.py", augment="device").values())


@pytest.mark.parametrize("name", ["finetune_mae_vit-base_100e_in1k", "linear_mae_vit-base_90e_in1k",
                                  "knn_vit-base_in1k"])
def test_a_step_of_a_classifier_waits_for_nothing(name):
    assert not any(classify(f"classification/{name}.py").values())


def test_probes_wait_for_nothing():
    from mimtransfer.evaluation.probing.knn import knn_votes
    from mimtransfer.evaluation.probing.linear_sweep import LinearHeads, train_heads

    with fake_cuda() as watch:
        heads = LinearHeads(8, 3, 2, torch.Generator())
        with watch.rest():
            heads.to("cuda")
        features, labels = torch.zeros(20, 8, device="cuda"), torch.zeros(20, dtype=torch.int64, device="cuda")
        optimizer = dict(type="LARS", momentum=0.9)
        losses = train_heads(heads, features, labels, [(0.1, 0.0), (0.3, 1e-4)], optimizer, 2, 1, 8, 0)
        assert losses.shape == (4, 2) and losses.device.type == "cuda"
        assert knn_votes(features[:5], features, labels, 3, 4, 0.07).shape == (5, 3)


@pytest.mark.parametrize("leaf", ["detection/mask-rcnn_vit-demo_scenes.py", "segmentation/upernet_vit-demo_scenes.py"])
def test_the_host_waits_for_code_of_others_only(leaf):
    from fake_transfer import ours, transfer_step

    waits = transfer_step(leaf)
    assert not ours(waits) and all(where.startswith(("mm", "mimtransfer/")) for _, where in waits)


def test_positions_of_another_grid_are_made_on_the_device():
    from pretrain.methods.decoder import PixelDecoder

    with fake_cuda() as watch:
        encoder = SimpleNamespace(embed_dim=48, num_prefix_tokens=1, grid_size=(4, 4))
        decoder = PixelDecoder(encoder, 12, embed_dim=32, depth=1, num_heads=2)
        with watch.rest():
            decoder.to("cuda")
        positions = decoder.positions((2, 2))
        assert positions.shape == (1, 4, 32) and positions.device.type == "cuda"


def test_the_page_has_every_kind_of_pretraining():
    page = (ROOT.parent / "docs/fake-cuda.md").read_text()
    rows = {line.split(" | ")[4]: line for line in page.splitlines() if line.count(" | ") == 7}
    for leaf in pretraining_kinds().values():
        name = leaf.rpartition("/")[2].removesuffix(".py")
        assert rows[name].count("| ok") in (2, 3), f"{name}: run tests/helpers/fake_cuda_table.py"


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
