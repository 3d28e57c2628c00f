"""Tests that a GPU must pass, and that run on the CPU just so: `pytest tests/gpu --device cuda`.

The CPU in float32 is the reference everywhere. `make gpu-report` runs them on a GPU; CI runs them on the CPU.
"""
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from golden_losses import CASES, build
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from pretrain.aug_record import AugRecord

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
METHODS = ("mae", "mae_famt", "simmim", "beit", "mapet", "mfm")


class Made(NamedTuple):
    """A method in its first state on the CPU, a batch, and what it drew for it."""

    model: nn.Module
    images: Tensor
    record: AugRecord
    drawn: object


def pytest_generate_tests(metafunc):
    """Compile every method on a GPU; on a CPU one, for what compiles there has tests of its own, and each takes 3 s."""
    if "compiled_method" in metafunc.fixturenames:
        everywhere = metafunc.config.getoption("--device") != "cpu"
        metafunc.parametrize("compiled_method", METHODS if everywhere else METHODS[:1])


@pytest.fixture(scope="session")
def device(request) -> str:
    name = request.config.getoption("--device")
    if name != "cpu" and not torch.cuda.is_available():
        raise pytest.UsageError(f"--device {name}: torch sees no CUDA device")
    return name


@pytest.fixture(scope="session")
def backend(device) -> str:
    """Of torch.compile: a CPU need not have a compiler of C++."""
    return "aot_eager" if device == "cpu" else "inductor"


@pytest.fixture(scope="session")
def made():
    """Build a method once: name -> `Made`."""
    kept = {}

    def get(name: str) -> Made:
        if name not in kept:
            cfg = Config.fromfile(CONFIGS / CASES[name].config)
            init_default_scope(cfg.default_scope)
            model, batch = build(cfg, CASES[name])
            data = model.data_preprocessor(batch(0), True)
            with torch.no_grad():
                drawn = model.draw_layout(data["inputs"], data["record"])
            kept[name] = Made(model, data["inputs"], data["record"], drawn)
        return kept[name]

    return get


def moved(value, device: str):
    """Return tensors, also in named tuples, on a device; None stays."""
    if isinstance(value, tuple):
        return type(value)(*(moved(part, device) for part in value))
    return value.to(device) if isinstance(value, Tensor) else value
