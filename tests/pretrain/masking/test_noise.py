"""NoiseMasking: noise in bands, without a seam at the border."""
import numpy as np
import pytest
import torch

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.masking.noise import NoiseMasking


def noise(color, cells, batch, sigma=(0.75, 2.0)):
    return NoiseMasking(color=color, sigma=sigma).noise(cells, SampleGenerator.from_seed(0, batch))


def test_red_noise_has_the_covariance_of_a_blur_on_an_endless_plane():
    sigma, (h, w) = 1.5, (6, 9)
    field = noise("red", (h, w), 8000, (0.5, sigma)).double().flatten(1).numpy()
    y, x = (axis.ravel() for axis in np.mgrid[0:h, 0:w])
    distance = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    expected = np.exp(-distance / (4 * sigma**2)) / (4 * np.pi * sigma**2)
    # 5 standard errors of a covariance of 8000 samples; opposite borders are not neighbours.
    assert np.abs(field.T @ field / len(field) - expected).max() < 5 * expected.max() * (2 / len(field)) ** 0.5
    assert np.abs(field.mean(0)).max() < 5 * (expected.max() / len(field)) ** 0.5


def test_the_bands_add_up_to_white_noise():
    red, green, blue = (noise(color, (7, 6), 3) for color in ("red", "green", "blue"))
    white = SampleGenerator.from_seed(0, 3).normal(15, 14)[:, :7, :6]  # margin 8
    assert torch.allclose(red + green + blue, white, atol=1e-5)


def test_purple_noise_is_red_and_blue_of_equal_energy():
    red, blue, purple = (noise(color, (6, 6), 8000).double().flatten() for color in ("red", "blue", "purple"))
    bands = torch.stack([red, blue], dim=1)
    solution = torch.linalg.lstsq(bands, purple[:, None]).solution
    assert torch.allclose(bands @ solution, purple[:, None], atol=1e-5)
    energy = (bands * solution[:, 0]).square().mean(0)
    assert 0.9 < energy[0] / energy[1] < 1.1


LOW, BELOW_MIDDLE, MIDDLE, HIGH = (0.03, 0.1), (0.12, 0.25), (0.2, 0.3), (0.5, 0.71)  # cycles in a patch


@pytest.mark.parametrize(
    "color, passed, stopped",
    [
        ("red", [LOW], [MIDDLE, HIGH]),
        ("green", [BELOW_MIDDLE], [LOW, HIGH]),
        ("blue", [HIGH], [LOW, MIDDLE]),
        ("purple", [LOW, HIGH], [MIDDLE]),
    ],
)
def test_masks_have_their_band(color, passed, stopped):
    batch = 600
    layout = NoiseMasking(0.5, color=color)(
        torch.zeros(batch, 3, 8, 8), None, (16, 16), SampleGenerator.from_seed(1, batch)
    )
    mask = layout.mask().view(batch, 16, 16).double().numpy()
    power = (np.abs(np.fft.fft2(mask - 0.5)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16))
    passed, stopped = (
        [power[(frequency > low) & (frequency < high)].mean() for low, high in bands] for bands in (passed, stopped)
    )
    assert min(passed) > 1.4 * max(stopped)


def test_highest_values_are_masked_next_ones_thrown():
    strategy = NoiseMasking(0.4, 0.3, color="blue")
    field = strategy.noise((4, 5), SampleGenerator.from_seed(0, 9)).flatten(1)
    layout = strategy(torch.zeros(9, 3, 8, 8), None, (4, 5), SampleGenerator.from_seed(0, 9))
    visible, masked, thrown = (field.gather(1, part) for part in layout)
    assert (masked.amin(1) > thrown.amax(1)).all() and (thrown.amin(1) > visible.amax(1)).all()


@pytest.mark.parametrize("kwargs", [dict(color="pink"), dict(sigma=(2.0, 0.75))])
def test_impossible_settings_are_refused(kwargs):
    with pytest.raises(UserError, match=r"NoiseMasking: got .*expected"):
        NoiseMasking(**kwargs)
