"""The precision and memory policy: what a GPU would get, what stays as it is, what the record says."""
import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn
from torch._subclasses import FakeTensorMode

from mimtransfer.backbones.cnn import TimmCNN, put_channels_last
from mimtransfer.evaluation.probing.knn import knn_votes
from mimtransfer.registry import OPTIM_WRAPPERS
from mimtransfer.training import precision
from pretrain.benchmarks.steps import write_random_dvae
from pretrain.masking import semantic
from pretrain.tokenizers import kmeans
from pretrain.tokenizers.base import Tokenizer
from pretrain.tokenizers.dvae import DALLETokenizer
from pretrain.tokenizers.features import PatchFeatures


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def restored():
    """Leave torch's flags as they were."""
    before = flags()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def gpu(monkeypatch):
    """Let the policy see an H100."""
    monkeypatch.setattr(precision, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.version, "hip", None)


def config(optimizer: dict, **keys) -> Config:
    return Config(dict(optim_wrapper=dict(type="OptimWrapper", optimizer=optimizer), launcher="none", **keys))


def test_nothing_changes_on_the_cpu():
    before, cfg = flags(), config(dict(type="AdamW", lr=1.0))
    untouched = copy.deepcopy(cfg.to_dict())
    precision.set_precision(cfg)
    assert flags() == before and cfg.to_dict() == untouched


@pytest.mark.parametrize("optimizer, fused", [
    (dict(type="AdamW"), True), (dict(type="SGD"), True), (dict(type="LARS"), None),
    (dict(type="mimtransfer.LAMB"), None), (dict(type="AdamW", fused=False), False),
    (dict(type="AdamW", foreach=True), None),
])  # fmt: skip
def test_a_gpu_gets_tf32_and_a_fused_optimizer_unless_the_config_says_how(optimizer, fused, gpu):
    cfg = config(optimizer)
    precision.set_precision(cfg)
    assert flags() == (True, True) and cfg.optim_wrapper.optimizer.get("fused") is fused
    assert "model_wrapper_cfg" not in cfg


def test_a_gpu_before_ampere_has_no_tf32(gpu, monkeypatch):
    before = flags()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    precision.allow_tf32()
    assert flags() == before


def test_a_config_that_trains_nothing_needs_no_optimizer(gpu):
    precision.set_precision(Config(dict(optim_wrapper=None)))
    assert flags() == (True, True)


@pytest.mark.parametrize("keys, expected", [
    ({}, dict(type="MMDistributedDataParallel", broadcast_buffers=False, find_unused_parameters=False,
              gradient_as_bucket_view=True)),
    (dict(find_unused_parameters=True, model_wrapper_cfg=dict(static_graph=True)),
     dict(static_graph=True, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True)),
    (dict(model_wrapper_cfg=dict(gradient_as_bucket_view=False, broadcast_buffers=True)),
     dict(gradient_as_bucket_view=False, broadcast_buffers=True, find_unused_parameters=False)),
    (dict(model_wrapper_cfg=dict(type="Other")), dict(type="Other")),
])
def test_processes_share_gradients_with_the_buckets(keys, expected):
    cfg = Config(dict(launcher="pytorch", **keys))
    precision.set_precision(cfg)
    assert cfg.model_wrapper_cfg.to_dict() == expected


def test_contexts_nest_and_restore_after_an_error():
    torch.backends.cuda.matmul.allow_tf32 = True
    with pytest.raises(KeyError), precision.full_fp32():
        assert flags() == (False, False)
        with precision.tf32():
            assert flags() == (True, True)
        assert flags() == (False, False)
        raise KeyError
    assert flags() == (True, True)


class Ids(Tokenizer):
    def encode(self, images, record):
        self.seen = flags(), torch.is_autocast_enabled("cpu")
        return images[:, 0].long()


class Features(PatchFeatures):
    def extract(self, images):
        self.seen = flags()
        return images


class Memory:
    """A [N, D] matrix that notes under which flags its product is taken."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __len__(self):
        return len(self.matrix)

    @property
    def T(self):
        self.seen = flags()
        return self.matrix.T


def test_what_is_decided_by_the_nearest_is_never_in_tf32(gpu, monkeypatch):
    precision.allow_tf32()
    tokenizer, features, memory, seen = Ids(4, {}), Features(), Memory(torch.eye(3)), []

    def spy(function):
        return lambda *args, **options: (seen.append(flags()), function(*args, **options))[1]

    monkeypatch.setattr(torch, "addmm", spy(torch.addmm))
    monkeypatch.setattr(semantic, "_nearest", spy(semantic._nearest))
    with torch.autocast("cpu", torch.bfloat16):
        tokenizer(torch.rand(1, 3, 2, 2))
    features(torch.rand(1, 3, 2, 2))
    knn_votes(torch.eye(3), memory, torch.arange(3), 3, k=1, temperature=1.0)
    kmeans.nearest(torch.rand(5, 3), torch.rand(2, 3))
    semantic.part_labels(torch.rand(1, 4, 3), 2)
    assert tokenizer.seen == ((False, False), False)
    assert len(seen) > 2 and {features.seen, memory.seen, *seen} == {(False, False)}
    assert flags() == (True, True)


@pytest.mark.parametrize("arch, layers", [("resnet50", dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16))),
                                          ("convnext_atto", dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)))])
def test_channels_last_changes_no_value_of_a_cnn(arch, layers):
    torch.manual_seed(0)
    plain = TimmCNN(arch, model_kwargs=layers, out_indices=(0, 3)).train()
    other, images = copy.deepcopy(plain), torch.randn(2, 3, 64, 64)
    put_channels_last(other)
    assert not precision.in_force(plain)["channels_last"] and precision.in_force(other)["channels_last"]
    for model in (plain, other):
        sum(map_.square().mean() for map_ in model(images)).backward()
    assert precision.lies_channels_last(other(images)[0])
    for (name, one), two in zip(plain.named_parameters(), other.parameters()):
        assert torch.equal(one, two), name
        assert torch.allclose(one.grad, two.grad, rtol=1e-4, atol=1e-5 * one.grad.abs().max().item()), name
        assert two.grad.is_contiguous(memory_format=torch.channels_last) or two.ndim < 4, name
    plain.load_state_dict(other.state_dict())
    other.load_state_dict(plain.state_dict())
    assert precision.in_force(other)["channels_last"]


def to_fake_cuda(module: nn.Module, fn, recurse: bool = True) -> nn.Module:
    """Do what `Module._apply` does in moving; torch's own cannot exchange a real parameter for a fake one."""
    for inner in module.modules():
        for name, parameter in inner._parameters.items():
            if parameter is not None:
                fake = to_fake_cuda.mode.from_tensor(parameter).detach().to("cuda")
                inner._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
    return module


def test_on_a_gpu_a_cnn_and_the_dvae_lie_so_and_the_dvae_computes_in_half_precision(tmp_path, monkeypatch):
    """Fake CUDA tensors know devices, types and strides; there are no values."""
    write_random_dvae(tmp_path / "encoder.pkl", width=8, num_codes=16)
    seen = []
    monkeypatch.setattr(F, "conv2d", lambda x, w, b, convolve=F.conv2d, **options: (
        seen.append((x.dtype, x.device.type, flags(), precision.lies_channels_last(x) or x.shape[1] < 8)),
        convolve(x, w, b, **options))[1])
    tokenizer = DALLETokenizer(str(tmp_path / "encoder.pkl"), input_size=None)
    cnn = TimmCNN("resnet50", model_kwargs=dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16)))
    monkeypatch.setattr(nn.Module, "_apply", to_fake_cuda)
    with FakeTensorMode() as mode:
        to_fake_cuda.mode = mode
        cnn.cuda()
        ids = tokenizer.cuda()(torch.rand(3, 3, 32, 32, device="cuda"))
    assert precision.in_force(cnn)["channels_last"] and precision.in_force(tokenizer)["channels_last"]
    assert ids.device.type == "cuda" and ids.shape == (3, 4, 4) and ids.dtype == torch.int64
    assert {(dtype, place, tf32) for dtype, place, tf32, _ in seen[:-1]} == {(torch.float16, "cuda", (True, True))}
    assert seen[-1][:3] == (torch.float32, "cuda", (True, True))


def steps(wrapper: dict, number: int = 5) -> tuple[nn.Module, OptimWrapper]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    optim_wrapper = build_optim_wrapper(model, wrapper)
    for seed in range(number):
        images = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
        optim_wrapper.update_params(model(images).square().mean())
    return model, optim_wrapper


def test_a_fused_step_is_the_same_but_for_rounding_and_frees_gradients():
    made = {fused: steps(dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.1, fused=fused)))
            for fused in (False, True)}
    for one, two in zip(made[False][0].parameters(), made[True][0].parameters()):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6) and one.grad is None and two.grad is None
    found = {fused: precision.in_force(*each)["fused_optimizer"] for fused, each in made.items()}
    assert found == {False: False, True: True}


def test_the_record_says_what_is_in_force(gpu, monkeypatch):
    precision.allow_tf32()
    wrapper = dict(type="mimtransfer.Bf16OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
    model, optim_wrapper = steps(wrapper, number=0)
    facts = precision.in_force(model, optim_wrapper)  # on the CPU, where TF32 is nothing
    assert facts == dict(fp32="full", autocast="bfloat16", cudnn_benchmark=False, channels_last=False,
                         fused_optimizer=False, ddp=None)
    assert precision.in_words(facts) == "Precision: fp32 products in full precision, bfloat16 autocast"
    assert precision.in_force(model, None, dict(test_cfg=dict(amp=True)))["autocast"] == "bfloat16"
    assert precision.in_force(model, None, dict(test_cfg=dict(type="TestLoop")))["autocast"] is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    amp = OPTIM_WRAPPERS.get("AmpOptimWrapper").__new__(OPTIM_WRAPPERS.get("AmpOptimWrapper"))
    amp.cast_dtype, amp.optimizer = torch.float16, optim_wrapper.optimizer
    assert precision.in_force(model, amp)["autocast"] == "float16"
    ddp = dict(gradient_as_bucket_view=True, static_graph=False, find_unused_parameters=False)
    facts = dict(fp32="tf32", autocast=None, cudnn_benchmark=True, channels_last=True, fused_optimizer=True, ddp=ddp)
    assert precision.in_words(facts) == ("Precision: fp32 products in TF32, no autocast, cuDNN benchmark, "
                                         "channels_last, fused optimizer, DDP with gradient_as_bucket_view")
