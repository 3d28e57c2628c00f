"""What a step is made of beside the loss: optimizer, DDP with one process, codes, layout of memory."""
import copy
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper

from mimtransfer.backbones.cnn import TimmCNN
from mimtransfer.benchmarks.timing import Contender, measure
from mimtransfer.registry import TOKENIZERS
from mimtransfer.training import precision
from pretrain.benchmarks.steps import write_random_dvae
from pretrain.tokenizers.kmeans import nearest

from .conftest import moved


@pytest.fixture
def one_process(device):
    dist.init_process_group("nccl" if device != "cpu" else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def train(model, device, batches, fused):
    wrapper = dict(type="OptimWrapper", clip_grad=dict(max_norm=1.0),
                   optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=fused))
    optim_wrapper = build_optim_wrapper(model, wrapper)
    for images, drawn in batches:
        loss = model(images, drawn) if isinstance(model, MMDistributedDataParallel) else model.loss(images, drawn)
        optim_wrapper.update_params(loss["loss"])
    return [p.detach().cpu() for p in model.parameters()]


def steps_of(case, device, number=3):
    return [(moved(case.images, device), moved(case.drawn, device))] * number


def test_ddp_and_a_fused_optimizer_on_the_device_equal_plain_steps_on_the_cpu(made, device, one_process):
    case = made("mae")
    plain = copy.deepcopy(case.model)
    expected = train(plain, "cpu", steps_of(case, "cpu"), fused=False)
    model = copy.deepcopy(case.model).to(device)
    model.forward = model.loss  # the layout is given
    cfg = Config(dict(launcher="pytorch"))
    precision.share_gradients(cfg)
    options = {key: value for key, value in cfg.model_wrapper_cfg.items() if key != "type"}
    options["device_ids"] = None if device == "cpu" else [torch.device(device)]
    wrapped = MMDistributedDataParallel(model, **options)
    with precision.full_fp32():
        found = train(wrapped, device, steps_of(case, device), fused=True)
    assert precision.in_force(wrapped)["ddp"] == dict(gradient_as_bucket_view=True, static_graph=False,
                                                      find_unused_parameters=False)
    # A step of AdamW is lr large whatever the gradient, so tiny gradients decide by their rounding.
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(found, expected))
    before = list(case.model.parameters())
    moves = [torch.cat([(one - start).flatten() for one, start in zip(after, before)]) for after in (found, expected)]
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.99


def test_nearest_centroids_are_those_of_the_cpu(device):
    state = torch.Generator().manual_seed(0)
    points, centroids = torch.randn(500, 32, generator=state) + 50, torch.randn(64, 32, generator=state) + 50
    with precision.tf32():
        found = nearest(points.to(device), centroids.to(device)).cpu()
    assert (found == nearest(points, centroids)).float().mean() > 0.995


def test_codes_of_the_dvae_hardly_depend_on_the_device(device, tmp_path):
    """Random weights, and biases by which as many codes as possible are used."""
    write_random_dvae(tmp_path / "encoder.pkl", width=16, num_codes=64)
    tokenizer = TOKENIZERS.build(dict(type="DALLETokenizer", checkpoint=str(tmp_path / "encoder.pkl"), input_size=None))
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokenizer.encoder.blocks.output.conv.b -= tokenizer.encoder(images * 0.8 + 0.1).mean((0, 2, 3))
    expected = tokenizer(images)
    assert len(expected.unique()) > 40
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        found = tokenizer.to(device)(images.to(device)).cpu()
    assert found.shape == (4, 8, 8) and (found == expected).float().mean() > 0.97
    assert precision.in_force(tokenizer)["channels_last"] is (device != "cpu")


def test_random_weights_have_the_published_names_and_shapes(tmp_path):
    published = Path(__file__).parents[1] / "pretrain/tokenizers/fixtures/dvae_official.json"
    shapes = json.loads(published.read_text())["shapes"]["encoder"]  # of width 64 and 512 codes
    write_random_dvae(tmp_path / "encoder.pkl", width=64, num_codes=512)
    state = torch.load(tmp_path / "encoder.pkl", weights_only=True)
    assert {name: list(value.shape) for name, value in state.items()} == shapes


def test_a_cnn_on_a_gpu_lies_with_its_channels_last_and_computes_the_same(device):
    torch.manual_seed(0)
    model = TimmCNN("resnet50", model_kwargs=dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = model(images)[0]
    with precision.full_fp32():
        found = model.to(device)(images.to(device))[0]
    assert precision.in_force(model)["channels_last"] is (device != "cpu")
    assert torch.allclose(found.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_contenders_are_timed_with_the_memory_of_their_own(device):
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)  # cuBLAS takes its workspace

    def build(side):
        weight = torch.randn(side, side, device=device)
        return Contender(lambda: weight @ weight, flops=2 * side**3)

    found = measure({"small": lambda: build(64), "large": lambda: build(1024)}, device, rounds=3)
    (_, small), (_, large) = found.values()
    assert len(small.seconds) == len(large.seconds) == 3 and min(small.seconds) > 0
    if device == "cpu":
        assert small.memory is large.memory is None
    else:
        assert 2 * 2**20 * 4 <= large.memory < 2**28 and small.memory < 2 * 2**20
