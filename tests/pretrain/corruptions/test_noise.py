"""Noise against its distributions and the released code's numbers."""
import json
from pathlib import Path

import pytest
import scipy.stats
import torch
from deterministic import numbers

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.corruptions.noise import Noise, count_levels, draw_poisson, poisson_noise

OFFICIAL = json.loads((Path(__file__).parent / "fixtures/degradations_official.json").read_text())


def official_image() -> torch.Tensor:
    return (numbers("image", (24, 20, 3), 60) + 128).round().clamp(0, 255).permute(2, 0, 1)[None] / 255


def sampled(image: torch.Tensor) -> list[float]:
    return image[0].permute(1, 2, 0)[::5, ::4].flatten().tolist()


class Given(SampleGenerator):
    """Hands out the normal numbers that the released code was given."""

    def normal(self, *shape):
        return numbers("noise", (24, 20, 3), 1.0).permute(2, 0, 1)[None]


def test_the_released_denoising():
    noisy, kept = Noise()(official_image(), Given.from_seed(0, 1))
    assert kept is None and sampled(noisy) == pytest.approx(OFFICIAL["released_denoise"], abs=1e-6)
    assert noisy.min() < 0 and noisy.max() > 1
    clamped, _ = Noise(clamp=True)(official_image(), Given.from_seed(0, 1))
    assert torch.equal(clamped, noisy.clamp(0, 1))


@pytest.mark.parametrize("name, is_grey", [("poisson_colour", False), ("poisson_grey", True)])
def test_poisson_rates_and_images_of_the_released_code(name, is_grey, monkeypatch):
    seen = []

    def one_more_than_the_mean(level, number, uniform):
        seen.append(number * level / 255)
        return seen[0].floor().long() + 1

    monkeypatch.setattr("pretrain.corruptions.noise.draw_poisson", one_more_than_the_mean)
    noise = Noise(dict(poisson=1), poisson_scale=(1.3, 1.3), poisson_grey=float(is_grey))
    noisy, _ = noise(official_image(), SampleGenerator.from_seed(0, 1))
    rates = seen[0][:, :1] if is_grey else seen[0]
    assert sampled(rates) == pytest.approx(OFFICIAL[name]["rates"], abs=1e-4)
    assert sampled(noisy) == pytest.approx(OFFICIAL[name]["image"], abs=1e-6)


def test_levels_are_counted_in_each_image():
    ramp = torch.arange(60).view(3, 4, 5) / 255
    images = torch.stack([torch.full((3, 4, 5), 0.5), ramp, (ramp > 0.1).float()])
    level, number = count_levels(images)
    assert number.flatten().tolist() == [1, 64, 2]
    assert torch.equal(level[1], torch.arange(60).view(3, 4, 5))


@pytest.mark.parametrize("number", [1, 16, 256])
def test_counts_are_those_of_scipy_for_the_same_uniform_numbers(number):
    generator = SampleGenerator.from_seed(0, 1)
    level, uniform = generator.integers(0, 255, 1, 40, 50), generator.uniform(1, 40, 50)
    uniform[0, 0, 0, :3] = torch.tensor([2**-24, 0.5, 1 - 2**-24])
    count = draw_poisson(level, torch.full((1, 1, 1, 1), number), uniform)
    expected = scipy.stats.poisson.ppf(uniform.double().numpy(), number * level.numpy() / 255)
    expected[level.numpy() == 0] = 0
    assert (count.numpy() == expected).all()


def test_poisson_has_the_mean_variance_and_skew_of_counts():
    for number, value in ((1, 255), (4, 64), (256, 10), (256, 200)):
        level = torch.full((1, 1, 300, 300), value)
        uniform = SampleGenerator.from_seed(3, 1).uniform(1, 300, 300)
        many = torch.full((1, 1, 1, 1), number)
        noise = poisson_noise(level, many, draw_poisson(level, many, uniform)).double()
        variance = value / 255 / number
        assert noise.mean().item() == pytest.approx(0, abs=5 * (variance / 9e4) ** 0.5)
        assert noise.var().item() == pytest.approx(variance, rel=0.03)
        skew = (noise**3).mean() / variance**1.5
        assert skew.item() == pytest.approx((number * value / 255) ** -0.5, abs=0.05)


def test_gaussian_noise_is_normal_with_the_deviation_drawn():
    images = torch.zeros(400, 3, 24, 24)
    noisy, _ = Noise(gaussian_sigma=(10, 50), gaussian_grey=0.25)(images, SampleGenerator.from_seed(1, 400))
    deviation = noisy[:, 0].flatten(1).std(1) * 255
    assert scipy.stats.kstest((deviation - 10) / 40, "uniform").pvalue > 0.01
    assert noisy.mean().abs().item() < 1e-3
    standard = (noisy[:, 0] * 255 / deviation[:, None, None]).flatten()[::7]
    assert scipy.stats.kstest(standard.numpy(), "norm").pvalue > 0.01
    grey = (noisy[:, :1] == noisy).flatten(1).all(1)
    assert grey.float().mean().item() == pytest.approx(0.25, abs=0.08)
    coloured = noisy[~grey]
    assert abs(torch.corrcoef(torch.stack([coloured[:, 0].flatten(), coloured[:, 1].flatten()]))[0, 1]) < 0.01


def test_kinds_are_mixed_and_each_sample_is_alone():
    noise = Noise(dict(gaussian=0.3, poisson=0.7), gaussian_sigma=(1, 30), gaussian_grey=0.4)
    images, seeds = torch.rand(60, 3, 8, 8), torch.arange(60) * 77
    whole, _ = noise(images, SampleGenerator(seeds))
    alone = torch.cat([noise(images[i : i + 1], SampleGenerator(seeds[i : i + 1]))[0] for i in range(60)])
    assert torch.equal(whole, alone)
    # In a black image there is nothing to count.
    noisy, _ = noise(torch.zeros(500, 3, 4, 4), SampleGenerator.from_seed(0, 500))
    assert (noisy == 0).flatten(1).all(1).float().mean().item() == pytest.approx(0.7, abs=0.07)


@pytest.mark.parametrize("options, message", [
    (dict(kinds=dict(salt=1)), "expected weights of gaussian and poisson"),
    (dict(gaussian_sigma=(30, 1)), r"got gaussian_sigma=\(30, 1\)"),
    (dict(poisson_grey=2), "got poisson_grey=2; expected a probability"),
])
def test_mistakes_give_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        Noise(**options)
    assert "\n" not in str(caught.value)
