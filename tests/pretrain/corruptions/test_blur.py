"""Blur against formulas in float64, scipy's filter, and the released code's numbers."""
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import torch
from deterministic import numbers

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.corruptions.blur import Blur, filter_each

OFFICIAL = json.loads((Path(__file__).parent / "fixtures/degradations_official.json").read_text())
MIXED = dict(
    iso=0.405, aniso=0.225, generalized_iso=0.108, generalized_aniso=0.027, plateau_iso=0.108, plateau_aniso=0.027,
    sinc=0.1,
)  # fmt: skip


def official_image() -> torch.Tensor:
    image = (numbers("image", (24, 20, 3), 60) + 128).round().clamp(0, 255) / 255
    return image.permute(2, 0, 1)[None]


class Given(SampleGenerator):
    """Hands out the middle of every range."""

    def uniform(self, *shape):
        return torch.full((len(self.seed), *shape), 0.5)


@pytest.mark.parametrize("kind", MIXED)
def test_kernels_and_images_of_the_released_code(kind):
    fixed = dict(sigma_x=(1.7, 1.7), sigma_y=(3.1, 3.1), angle=(0.6, 0.6), omega=(1.9, 1.9), sizes=(9,))
    # The shape is half-way between 1 and the number drawn.
    blur = Blur({kind: 1}, beta_gaussian=(2, 2), beta_plateau=(2, 2), **fixed)
    kernel = blur.draw_kernels(Given.from_seed(0, 1))
    expected = torch.tensor(OFFICIAL["kernels"][kind]).view(1, 9, 9)
    assert torch.allclose(kernel, expected, atol=2e-7)
    blurred, kept = blur(official_image(), Given.from_seed(0, 1))
    expected = torch.tensor(OFFICIAL["filtered"][kind]).view(5, 5, 3).permute(2, 0, 1)
    assert kept is None and torch.allclose(blurred[0, :, ::5, ::4], expected, atol=1e-6)


def test_the_released_deblurring():
    blurred, _ = Blur(sizes=(21,))(official_image(), SampleGenerator.from_seed(0, 1))
    expected = torch.tensor(OFFICIAL["released_deblur_21"]).view(5, 5, 3).permute(2, 0, 1)
    assert torch.allclose(blurred[0, :, ::5, ::4], expected, atol=1e-6)


def reference(kind, size, draws, blur) -> np.ndarray:
    """Return a kernel by the formulas of the module, with numpy and its matrices."""
    low = [blur.sigma_x, blur.sigma_y, blur.angle, blur.beta_gaussian, blur.beta_plateau]
    sigma_x, sigma_y, angle, gaussian, plateau = (
        a + (b - a) * u for (a, b), u in zip(low, [*draws[2:5], draws[5], draws[5]])
    )
    offset = np.arange(size) - size // 2
    points = np.stack(np.meshgrid(offset, offset), -1).astype(float)  # x, y
    if kind == "sinc":
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        omega, radius = lowest + (math.pi - lowest) * draws[7], np.linalg.norm(points, axis=-1)
        with np.errstate(invalid="ignore"):
            kernel = omega * scipy.special.j1(omega * radius) / (2 * np.pi * radius)
        kernel[size // 2, size // 2] = omega**2 / (4 * np.pi)
        return kernel / kernel.sum()
    if kind.endswith("_iso") or kind == "iso":
        sigma_y, angle = sigma_x, 0.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    distance = np.einsum("hwi,ij,hwj->hw", points, inverse, points)
    if kind.startswith("plateau"):
        kernel = 1 / (1 + distance ** (1 + (plateau - 1) * draws[6]))
    else:
        kernel = np.exp(-0.5 * distance ** (1 + (gaussian - 1) * draws[6] if kind.startswith("gen") else 1))
    return kernel / kernel.sum()


def test_drawn_kernels_are_the_formulas_and_filter_as_scipy():
    blur, batch = Blur(MIXED, sigma_x=(0.2, 3), sigma_y=(0.2, 3)), 200
    kernels = blur.draw_kernels(SampleGenerator.from_seed(7, batch))
    draws = SampleGenerator.from_seed(7, batch).uniform(8).double().numpy()
    images = torch.rand(batch, 2, 15, 12, generator=torch.Generator().manual_seed(0))
    blurred, _ = blur(images, SampleGenerator.from_seed(7, batch))
    seen = set()
    for kernel, draw, image, result in zip(kernels.numpy(), draws, images.numpy(), blurred.numpy()):
        kind = list(MIXED)[np.searchsorted(np.cumsum(list(MIXED.values())), draw[0])]
        size = range(7, 22, 2)[int(draw[1] * 8)]
        seen.add((kind, size))
        expected = np.pad(reference(kind, size, draw, blur), (21 - size) // 2)
        np.testing.assert_allclose(kernel, expected, atol=1e-6)
        filtered = [scipy.ndimage.correlate(channel.astype(float), expected, mode="mirror") for channel in image]
        np.testing.assert_allclose(result, filtered, atol=2e-6)
    assert {kind for kind, _ in seen} == set(MIXED) and {size for _, size in seen} == set(range(7, 22, 2))
    assert torch.allclose(kernels.double().sum((1, 2)), torch.ones(batch).double(), atol=1e-6)


def test_kinds_come_as_often_as_their_weights():
    blur = Blur(dict(iso=3, sinc=1, aniso=0))
    kernels = blur.draw_kernels(SampleGenerator.from_seed(0, 4000))
    is_sinc = kernels.flatten(1).amin(1) < 0
    assert is_sinc.float().mean().item() == pytest.approx(0.25, abs=0.025)


def test_one_pixel_becomes_the_kernel_turned_round():
    kernels = torch.rand(2, 5, 5)
    image = torch.zeros(2, 1, 33, 40)
    image[:, :, 10, 20] = 1
    found = filter_each(image, kernels)[:, 0, 8:13, 18:23]
    assert torch.allclose(found, kernels.flip(1, 2), atol=1e-6)


@pytest.mark.parametrize("options, message", [
    (dict(kernels=dict(motion=1)), "expected weights of kinds out of iso, aniso"),
    (dict(kernels=dict(iso=0)), "got kernels"),
    (dict(sizes=(7, 8)), r"got sizes=\(7, 8\); expected odd"),
    (dict(sigma_x=(0, 3)), r"got sigma_x=\(0, 3\); expected a range of positive"),
    (dict(omega=(2, 1)), r"got omega=\(2, 1\)"),
    (dict(), "got images of 32 x 10 pixels and kernels of up to 21"),
])
def test_mistakes_give_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        Blur(**options)(torch.rand(1, 3, 32, 10), SampleGenerator.from_seed(0, 1))
    assert "\n" not in str(caught.value)
