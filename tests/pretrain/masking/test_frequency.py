"""Low-frequency energy of tokens against the whole spectrum in float64."""
import numpy as np
import pytest
import torch

from pretrain.masking.famt import low_frequency_energy, low_pass

GRIDS = pytest.mark.parametrize("grid", [(14, 14), (8, 8), (5, 7), (4, 6), (1, 9)], ids=str)
KINDS = pytest.mark.parametrize("kind", ["lfe1d", "lfe2d"])


def tokens_of(grid, width=12, seed=0):
    """Neighbours resemble each other, as the tokens of an image do."""
    random = np.random.default_rng(seed)
    walk = random.normal(size=(2, *grid, width)).cumsum(1).cumsum(2) + random.normal(size=(2, 1, 1, width))
    return torch.tensor(walk.reshape(2, -1, width))


def gauss_notch(length, middle, cutoff=0.15):
    """1 - exp(-(n - m0)^2 / (2 d0)), d0 = (L cutoff / 2)^2, on bins that are not shifted."""
    n = np.arange(length)
    return 1 - np.exp(-((n - middle) ** 2) / (2 * (length * cutoff / 2) ** 2))


def filtered(x, grid, kind, cutoff=0.15):
    """Filter [L, D] float64 with all bins of the spectrum; complex."""
    if kind == "lfe1d":
        return np.fft.ifft(np.fft.fft(x, axis=0) * gauss_notch(len(x), len(x) / 2, cutoff)[:, None], axis=0)
    h, w = grid
    transfer = np.zeros(grid)
    for i in range(h):
        for j in range(w):
            radius = np.hypot(min(i, h - i) / h, min(j, w - j) / w)  # cycles per token
            if radius < 0.5:
                transfer[i, j] = 1 - np.exp(-((1 - 2 * radius) ** 2) / (2 * cutoff**2))
    spectrum = np.fft.fft2(x.reshape(h, w, -1), axes=(0, 1))
    return np.fft.ifft2(spectrum * transfer[:, :, None], axes=(0, 1)).reshape(h * w, -1)


def energy(x, y):
    return np.abs(y).sum(1) / np.abs(x).sum(1).mean()


@GRIDS
@KINDS
@pytest.mark.parametrize("cutoff", [0.15, 0.4])
def test_energy_equals_the_full_spectrum_in_float64(grid, kind, cutoff):
    tokens = tokens_of(grid)
    got = low_frequency_energy(tokens, grid, kind, cutoff)
    assert got.dtype == torch.float32
    for image, row in zip(tokens.numpy(), got.numpy()):
        y = filtered(image, grid, kind, cutoff)
        assert np.abs(y.imag).max() < 1e-12 * np.abs(y.real).max()  # Hermitian: a real signal stays real
        np.testing.assert_allclose(row, energy(image, y), rtol=1e-5)


@pytest.mark.parametrize("length", [196, 195, 36, 7])
def test_our_notch_is_hermitian_and_the_released_one_is_not(length):
    ours, released = gauss_notch(length, length / 2), gauss_notch(length, (length - 1) / 2)
    half = low_pass(torch.fft.rfftfreq(length, dtype=torch.float64), 0.15).numpy()
    np.testing.assert_allclose(half, ours[: len(half)], atol=1e-12)
    np.testing.assert_allclose(ours[1:], ours[1:][::-1], atol=1e-12)
    assert np.abs(released[1:] - released[1:][::-1]).max() > 0.005


def test_the_released_notch_gives_complex_tokens_of_nearly_the_same_energy():
    for image in tokens_of((14, 14)).numpy():
        spectrum = np.fft.fft(image, axis=0)
        ours = np.fft.ifft(spectrum * gauss_notch(196, 98)[:, None], axis=0)
        released = np.fft.ifft(spectrum * gauss_notch(196, 97.5)[:, None], axis=0)
        assert np.abs(ours.imag).max() < 1e-13 * np.abs(ours).max()
        assert np.abs(released.imag).max() > 1e-5 * np.abs(released).max()
        np.testing.assert_allclose(energy(image, released), energy(image, ours), rtol=0.01)


@KINDS
def test_what_is_constant_passes_and_what_alternates_does_not(kind):
    constant = torch.full((1, 48, 3), -2.0)
    gain = 1 - np.exp(-1 / (2 * 0.15**2))
    np.testing.assert_allclose(low_frequency_energy(constant, (6, 8), kind).numpy(), gain, rtol=1e-6)
    alternating = (-1.0) ** torch.arange(48).view(1, 48, 1)  # by column: the rows have an even length
    assert low_frequency_energy(alternating, (6, 8), kind).max() < 1e-6


def test_two_dimensions_know_no_raster_order():
    grid = (6, 9)
    tokens = tokens_of(grid).unflatten(1, grid)
    whole = low_frequency_energy(tokens.flatten(1, 2), grid, "lfe2d").unflatten(1, grid)
    for moved, expected in ((tokens.transpose(1, 2), whole.transpose(1, 2)), (tokens.flip(2), whole.flip(2)),
                            (tokens.roll((2, 5), (1, 2)), whole.roll((2, 5), (1, 2)))):
        got = low_frequency_energy(moved.flatten(1, 2), tuple(moved.shape[1:3]), "lfe2d").unflatten(1, moved.shape[1:3])
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    turned = low_frequency_energy(tokens.transpose(1, 2).flatten(1, 2), (9, 6), "lfe1d").unflatten(1, (9, 6))
    straight = low_frequency_energy(tokens.flatten(1, 2), grid, "lfe1d").unflatten(1, grid)
    assert (turned.transpose(1, 2) - straight).abs().max() > 0.01


@KINDS
def test_transforms_are_float32_under_autocast_and_for_half_precision(kind):
    tokens = tokens_of((14, 14)).float()
    exact = low_frequency_energy(tokens, (14, 14), kind)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(low_frequency_energy(tokens, (14, 14), kind), exact)
    assert torch.equal(low_frequency_energy(tokens.half(), (14, 14), kind),
                       low_frequency_energy(tokens.half().double(), (14, 14), kind))
