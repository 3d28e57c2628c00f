"""What every corruption promises, and the filters of frequency masking and super-resolution in exact values."""
import pytest
import torch
import torch.nn.functional as F
from full_spectrum import corrupt, masks
from hypothesis import given, settings
from hypothesis import strategies as st

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS
from pretrain.corruptions.frequency import FrequencyMasking, low_frequencies
from pretrain.corruptions.super_resolution import SuperResolution

CORRUPTIONS.import_from_location()
NAMES = sorted(CORRUPTIONS.module_dict)
SEEDS = torch.tensor([3, 14, 15, 92, 65, 35])


def build(name: str):
    return CORRUPTIONS.build(dict(type=name))


def pictures(batch: int = 6, height: int = 40, width: int = 48) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_types(name):
    images = pictures()
    before = images.clone()
    corrupted, kept = build(name)(images, SampleGenerator(SEEDS))
    assert corrupted.shape == images.shape and corrupted.dtype == torch.float32 and corrupted.isfinite().all()
    assert torch.equal(images, before) and not torch.equal(corrupted, images)
    assert kept is None or (kept.shape == (6, 40, 25) and kept.dtype == torch.bool)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_own_image_and_seed_alone(name):
    corruption, images = build(name), pictures()
    whole, kept = corruption(images, SampleGenerator(SEEDS))
    order = torch.tensor([4, 0, 2])
    part, part_kept = corruption(images[order], SampleGenerator(SEEDS[order]))
    assert torch.allclose(part, whole[order], atol=1e-6)
    assert kept is None or torch.equal(part_kept, kept[order])
    torch.manual_seed(1)  # nothing comes from the global generator
    again, _ = corruption(images, SampleGenerator(SEEDS))
    assert torch.equal(again, whole)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(2, 21), width=st.integers(2, 21), data=st.data())
def test_filter_equals_that_of_whole_spectra(height, width, data):
    radius = data.draw(st.floats(1, min(height, width) / 2))
    images, low_pass = torch.rand(2, 3, height, width).double(), torch.tensor([True, False])
    reference = masks(height, width, radius, low_pass)
    disc = low_frequencies(height, width, radius)
    half = torch.fft.ifftshift(reference, dim=(1, 2))[:, :, : width // 2 + 1].bool()
    assert torch.equal(half, torch.stack([disc, ~disc]))
    low, _ = FrequencyMasking(radius, 1.0, clamp=False)(images, SampleGenerator.from_seed(0, 2))
    high, _ = FrequencyMasking(radius, 0.0, clamp=False)(images, SampleGenerator.from_seed(0, 2))
    assert torch.allclose(low + high, images, atol=1e-12)
    expected = corrupt(images, reference, clamp=False)
    assert torch.allclose(torch.stack([low[0], high[1]]), expected, atol=1e-12)


def test_published_filter():
    disc = low_frequencies(224, 224, 16)
    # Column 0 is its own mirror image, and the disc does not reach column 112.
    assert disc[:, 0].sum() + 2 * disc[:, 1:].sum() == 793


def test_the_edge_of_the_disc_is_exact():
    # 1 + 2^-52 is 1 in float32, in which (0, 1) would lie outside.
    for radius, count in ((1.0, 1), (1 + 2**-52, 5), (2**0.5, 9), (1.5, 9), (2.0, 9)):
        disc = low_frequencies(8, 8, radius)
        assert disc[:, 0].sum() + 2 * disc[:, 1:-1].sum() == count, radius


def test_waves_pass_or_not_by_their_frequency():
    y, x = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")

    def wave(v, u):
        return (2 * torch.pi * (v * y / 30 + u * x / 40)).cos().expand(1, 3, 30, 40)

    masking = FrequencyMasking(radius=5, low_pass_ratio=1.0, clamp=False)
    for v, u, passes in ((0, 0, 1), (4, 0, 1), (-3, 3, 1), (0, 4, 1), (3, 4, 0), (0, 5, 0), (-4, 4, 0), (15, 20, 0)):
        low, _ = masking(wave(v, u), SampleGenerator.from_seed(0, 1))
        assert torch.allclose(low, passes * wave(v, u), atol=1e-5), (v, u)


def test_clamping_brings_masked_frequencies_back():
    images = pictures()
    for clamp, leaks in ((False, False), (True, True)):
        high, kept = FrequencyMasking(4, 0.0, clamp)(images, SampleGenerator(SEEDS))
        masked = torch.fft.rfft2(high, norm="ortho").abs().masked_select(~kept[:, None])
        assert (masked.max() > 1) == leaks and (masked.max() < 1e-4) != leaks
        assert (high.min() >= 0) == clamp


def test_share_of_low_passes():
    for ratio in (0.0, 0.3, 1.0):
        images = torch.rand(2000, 1, 8, 8)
        _, kept = FrequencyMasking(2, ratio)(images, SampleGenerator.from_seed(0, 2000))
        assert kept[:, 0, 0].float().mean().item() == pytest.approx(ratio, abs=0.04)


def test_super_resolution_is_bicubic_there_and_back():
    images = pictures()
    small = F.interpolate(images, scale_factor=1 / 8, mode="bicubic").clamp(0, 1)
    assert small.shape[-2:] == (5, 6)
    expected = F.interpolate(small, size=(40, 48), mode="bicubic").clamp(0, 1)
    assert torch.allclose(SuperResolution(8)(images, SampleGenerator(SEEDS))[0], expected, atol=1e-6)
    smooth, _ = SuperResolution(8, antialias=True)(images, SampleGenerator(SEEDS))
    assert smooth.std() < 0.5 * expected.std()  # noise averages out
    flat = torch.full((1, 3, 16, 16), 0.3)
    for antialias in (False, True):
        assert torch.allclose(SuperResolution(4, antialias)(flat, SampleGenerator.from_seed(0, 1))[0], flat, atol=1e-6)


@pytest.mark.parametrize("options, size, message", [
    (dict(type="FrequencyMasking", radius=0.5), (32, 32), "got radius=0.5; expected 1 or more"),
    (dict(type="FrequencyMasking", radius=17), (48, 32), r"radius=17 and images of 48 x 32 pixels.*shorter side, 16$"),
    (dict(type="FrequencyMasking", radius=16), (64, 31), r"half the shorter side, 15\.5$"),
    (dict(type="FrequencyMasking", low_pass_ratio=1.5), (32, 32), "got low_pass_ratio=1.5; expected a probability"),
    (dict(type="SuperResolution", factor=1), (32, 32), "got factor=1; expected an integer, 2 or more"),
    (dict(type="SuperResolution", factor=8), (32, 36), "got images of 32 x 36 pixels and factor=8"),
])
def test_mistakes_give_one_line(options, size, message):
    with pytest.raises(UserError, match=message) as caught:
        CORRUPTIONS.build(options)(torch.rand(1, 3, *size), SampleGenerator.from_seed(0, 1))
    assert "\n" not in str(caught.value)
