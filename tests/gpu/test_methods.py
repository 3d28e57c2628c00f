"""Each method on the device: losses and gradients are those of the CPU; in bf16 and compiled, near them."""
import copy

import pytest
import torch
from torch import Tensor, nn

from mimtransfer.training.compilation import compile_part
from mimtransfer.training.precision import full_fp32, tf32
from pretrain.hooks.map_bank import measure_maps

from .conftest import METHODS, moved


def loss_and_gradients(model: nn.Module, images: Tensor, drawn, amp: bool = False) -> tuple[float, Tensor]:
    """Return the loss and all gradients in one vector, on the CPU."""
    torch.manual_seed(0)
    model.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
        loss, _ = model.parse_losses(model.loss(images, drawn))
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(gradients).float().cpu()


def without_dropout(model: nn.Module) -> nn.Module:
    """Return a copy that draws nothing: generators of CPU and GPU differ."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model


def away(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("name", METHODS)
def test_full_precision_equals_the_cpu_and_bf16_is_near_it(name, made, device):
    case = made(name)
    model = without_dropout(case.model)
    loss, gradients = loss_and_gradients(model, case.images, case.drawn)
    model = model.to(device)
    images, drawn = moved(case.images, device), moved(case.drawn, device)
    with full_fp32():
        own, found = loss_and_gradients(model, images, drawn)
    assert own == pytest.approx(loss, rel=1e-4) and away(found, gradients) < 1e-2
    with tf32():
        own, found = loss_and_gradients(model, images, drawn)
    assert own == pytest.approx(loss, rel=1e-2) and away(found, gradients) < 0.1
    own, found = loss_and_gradients(model, images, drawn, amp=True)
    assert own == pytest.approx(loss, rel=2e-2) and away(found, gradients) < 0.3


def test_compiled_equals_eager(compiled_method, made, device, backend):
    case = made(compiled_method)
    model = without_dropout(case.model).to(device).train()  # which alone is compiled
    images, drawn = moved(case.images, device), moved(case.drawn, device)
    with full_fp32():
        loss, gradients = loss_and_gradients(model, images, drawn)
        compile_part(model, model, model.compiled_part, backend)
        own, found = loss_and_gradients(model, images, drawn)
    torch._dynamo.reset()
    assert own == pytest.approx(loss, rel=1e-4) and away(found, gradients) < 1e-2


@pytest.mark.parametrize("name", METHODS)
def test_what_is_drawn_follows_from_the_seeds_on_every_device(name, made, device):
    case = made(name)
    model = copy.deepcopy(case.model).to(device)
    with torch.no_grad():
        drawn = model.draw_layout(moved(case.images, device), moved(case.record, device))

    def leaves(value):
        if isinstance(value, tuple):
            for part in value:
                yield from leaves(part)
        elif isinstance(value, Tensor):
            yield value.cpu()

    for one, other in zip(leaves(drawn), leaves(case.drawn), strict=True):
        if one.is_floating_point():
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)
        else:
            assert one.shape == other.shape and (one != other).sum() <= 0.01 * one.numel()


def test_maps_measured_in_bf16_are_near_those_of_the_cpu(made, device):
    case = made("mae_famt")
    images = torch.randint(0, 256, case.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = measure_maps(case.model, images, amp=False)
    found = measure_maps(copy.deepcopy(case.model).to(device), images.to(device), amp=True).cpu()
    assert found.shape == expected.shape and away(found, expected) < 0.05
