"""The corruptions: against float64 references with the same random numbers, and the published code's statistics."""
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.evaluation.robustness.common_corruptions import NAMES, Corruptions, blur, digital, noise, weather
from mimtransfer.evaluation.robustness.common_corruptions.parameters import nominal_size, strength
from mimtransfer.evaluation.robustness.common_corruptions.resampling import motion

# Of the released code on `picture(size)`, photographs of frost included: size -> corruption -> for each severity the
# mean of the three channels, mean and deviation of the root mean square change, and the deviation of the image's mean.
STATISTICS = json.loads((Path(__file__).parent / "fixtures" / "corruption_statistics.json").read_text())
FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")


def picture(size):
    """Waves and a chessboard, [H, W, 3] uint8."""
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    board = 40 * ((x * 8 // size + y * 8 // size) % 2) - 20
    planes = [128 + 70 * np.sin((3 + c) * 2 * np.pi * x / size + c) * np.cos(4 * np.pi * y / size) + board
              for c in range(3)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def tensor(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def corrupted(name, values, pixels, seed=5, **extra):
    """Return our float result [H, W, 3] in 0 to 255, and the generator once more, for the reference."""
    function = next(getattr(module, name) for module in (noise, blur, weather, digital) if hasattr(module, name))
    ours = function(tensor(pixels).float() / 255, SampleGenerator.from_seed(seed, 1), *values, **extra)
    return ours[0].permute(1, 2, 0).double().numpy() * 255, SampleGenerator.from_seed(seed, 1)


def test_the_published_15():
    assert NAMES == ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
                     "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
                     "jpeg_compression")
    assert [nominal_size(n, 2 * n) for n in (32, 48, 64, 96, 128, 160, 224)] == [32, 32, 64, 64, 64, 224, 224]


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "frost"])
def test_statistics_of_the_published_code(name, size):
    corrupt, pixels = Corruptions(), tensor(picture(size))
    for severity, (*mean, change, change_std, mean_std) in enumerate(STATISTICS[str(size)][name], start=1):
        if size == 64 and severity in (2, 4):
            continue
        repeats = 1 if name in FIXED else 1024 // size
        batch = pixels.expand(repeats, -1, -1, -1)
        found = corrupt.apply(batch, name, severity, SampleGenerator.from_seed(severity, repeats)).double()
        changes = (found - pixels).square().mean((1, 2, 3)).sqrt()
        # The reference is a mean over a few dozen draws, too.
        assert float(changes.mean()) == pytest.approx(change, abs=6 * change_std / repeats**0.5 + 0.1)
        np.testing.assert_allclose(found.mean((0, 2, 3)), mean, atol=6 * mean_std / repeats**0.5 + 0.3)


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "brightness", "contrast", "pixelate", "fog",
                                  "jpeg_compression", "zoom_blur"])
def test_statistics_at_224(name):
    *mean, change, change_std, mean_std = STATISTICS["224"][name][2]
    found = Corruptions().apply(tensor(picture(224)), name, 3, SampleGenerator.from_seed(0, 1)).double()
    found_change = float((found - tensor(picture(224))).square().mean().sqrt())
    assert found_change == pytest.approx(change, abs=4 * change_std + .1)
    np.testing.assert_allclose(found.mean((0, 2, 3)), mean, atol=4 * mean_std + 0.5)


def test_poisson_numbers_are_exact():
    levels = torch.tensor([0, 1, 7, 100, 254, 255]).repeat_interleave(400)
    u = SampleGenerator.from_seed(1, 1).uniform(len(levels))[0]
    for photons in (3, 60, 500):
        ours = noise.poisson(levels / 255, photons, u)
        expected = stats.poisson.ppf(u.double().numpy(), levels.numpy() / 255 * photons)
        np.testing.assert_array_equal(ours.numpy(), np.maximum(expected, 0))


def test_impulses():
    x = torch.full((1, 3, 100, 100), 0.4)
    found = noise.impulse_noise(x, SampleGenerator.from_seed(0, 1), 0.27)
    share = [float((found == value).float().mean()) for value in (0.0, 1.0)]
    assert share == pytest.approx([0.135, 0.135], abs=0.006) and len(found.unique()) == 3


@pytest.mark.parametrize("size", [32, 224])
def test_defocus(size):
    for severity in (1, 3, 5):
        radius, smoothing = strength("defocus_blur", severity, size)
        half, edge = (8, 3) if radius <= 8 else (int(radius), 5)
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        kernel = (x**2 + y**2 <= radius**2).astype(np.float64)
        kernel = cv2.GaussianBlur(kernel / kernel.sum(), (edge, edge), smoothing)
        pixels = picture(48)
        expected = cv2.filter2D(pixels.astype(np.float64), -1, kernel)
        np.testing.assert_allclose(corrupted("defocus_blur", (radius, smoothing), pixels)[0], expected, atol=2e-3)


@pytest.mark.parametrize("values", [(0.7, 1, 2), (1.1, 3, 2), (0.4, 1, 1)])
def test_glass_goes_pixel_by_pixel(values):
    sigma, reach, rounds = values
    pixels = picture(24)

    def blurred(x):
        return ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4.0)

    ours, generator = corrupted("glass_blur", values, pixels)
    expected = np.floor(blurred(pixels / 255.0) * 255 + 1e-3).astype(np.uint8)
    for _ in range(rounds):
        right, down = (generator.integers(-reach, reach - 1, 24, 24)[0].numpy() for _ in range(2))
        for h in range(24 - reach, reach, -1):
            for w in range(24 - reach, reach, -1):
                expected[h, w] = expected[h + down[h, w], w + right[h, w]]
    np.testing.assert_allclose(ours, blurred(expected / 255.0) * 255, atol=2e-3)


@given(st.floats(-180, 180), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_motion_shifts_by_whole_pixels(angle, radius):
    x = picture(16).astype(np.float64)
    weights = np.exp(-np.arange(2 * radius + 1) ** 2 / (2 * 2.5**2))
    expected = np.zeros_like(x)
    for step, weight in enumerate(weights / weights.sum()):
        down = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        right = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        rows, columns = np.clip(np.arange(16) + down, 0, 15), np.clip(np.arange(16) + right, 0, 15)
        expected += weight * x[rows][:, columns]
    ours = motion(torch.from_numpy(x).permute(2, 0, 1)[None], radius, 2.5, torch.tensor([angle], dtype=torch.float64))
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "values"), [(32, (1.26, 0.01)), (224, (1.31, 0.03)), (45, (1.21, 0.02))])
def test_zoom(size, values):
    x = picture(size).astype(np.float64)
    total, factors = x.copy(), np.arange(1, *values)
    for factor in factors:
        inner = int(np.ceil(size / factor))
        top = (size - inner) // 2
        large = ndimage.zoom(x[top : top + inner, top : top + inner], (factor, factor, 1), order=1)
        trim = (len(large) - size) // 2
        total += large[trim : trim + size, trim : trim + size]
    np.testing.assert_allclose(corrupted("zoom_blur", values, picture(size))[0], total / (len(factors) + 1), atol=5e-3)


def test_brightness_is_that_of_hsv():
    pixels = picture(16)
    pixels[0, 0] = 0
    hsv = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
    np.testing.assert_allclose(corrupted("brightness", (0.2,), pixels)[0], cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255,
                               atol=0.05)


@pytest.mark.parametrize("values", [strength("elastic_transform", s, 32) for s in (1, 2, 3, 5)])
def test_elastic(values):
    amplitude, smoothness, affine = values
    pixels = picture(32)
    ours, generator = corrupted("elastic_transform", values, pixels)
    corners = np.float32([[16 + 10, 16 + 10], [16 + 10, 16 - 10], [16 - 10, 16 - 10]])
    moved = corners + affine * (2 * generator.uniform(3, 2)[0].numpy() - 1)
    backwards = cv2.getAffineTransform(moved.astype(np.float32), corners)
    y, x = np.mgrid[:32, :32].astype(np.float64)
    place = np.stack([x, y, np.ones_like(x)], -1) @ backwards.T
    fields = [ndimage.gaussian_filter(2.0 * generator.uniform(32, 32)[0].numpy() - 1, smoothness, mode="reflect",
                                      truncate=3.0) * amplitude for _ in range(2)]
    expected = np.empty((32, 32, 3))
    for c in range(3):
        warped = ndimage.map_coordinates(pixels[..., c].astype(np.float64), [place[..., 1], place[..., 0]], order=1,
                                         mode="mirror")
        expected[..., c] = ndimage.map_coordinates(warped, [y + fields[1], x + fields[0]], order=1, mode="reflect")
    np.testing.assert_allclose(ours, expected, atol=2e-2)


@pytest.mark.parametrize("size", [32, 30, 61])
@pytest.mark.parametrize("scale", [0.95, 0.65, 0.5, 0.25])
def test_pixelate_is_pillows_box(size, scale):
    image = Image.fromarray(picture(size))
    small = image.resize((int(size * scale), int(size * scale)), Image.BOX)
    expected = np.asarray(small.resize((size, size), Image.BOX)).astype(int)
    difference = np.abs(np.rint(corrupted("pixelate", (scale,), picture(size))[0]).astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02  # halves, which Pillow rounds in fixed point


def test_jpeg_is_pillows():
    file = io.BytesIO()
    Image.fromarray(picture(40)).save(file, "JPEG", quality=10)
    found = Corruptions(parameters=224)(tensor(picture(40)), "jpeg_compression", 4)
    np.testing.assert_array_equal(found[0].permute(1, 2, 0), np.asarray(Image.open(file)))
    again = io.BytesIO()
    fogged = Corruptions()(tensor(picture(40)), "fog", 4)[0].permute(1, 2, 0).numpy()
    Image.fromarray(fogged).save(again, "JPEG", quality=85)
    found = Corruptions(jpeg_quality=85)(tensor(picture(40)), "fog", 4)
    np.testing.assert_array_equal(found[0].permute(1, 2, 0), np.asarray(Image.open(again)))


def test_fog_is_a_diamond_square_cloud():
    decay, size = 2.5, 16
    cloud = weather.plasma(SampleGenerator.from_seed(3, 1), size, decay)[0].double().numpy()
    generator, expected = SampleGenerator.from_seed(3, 1), np.zeros((size, size))
    step, amplitude = size, 100.0
    while step >= 2:
        half, cells = step // 2, range(0, size, step)
        for (dy, dx), around in {(half, half): ((-half, -half), (-half, half), (half, -half), (half, half)),
                                 (0, half): ((-half, 0), (half, 0), (0, -half), (0, half)),
                                 (half, 0): ((-half, 0), (half, 0), (0, -half), (0, half))}.items():
            draws = 2 * generator.uniform(len(cells), len(cells))[0].double().numpy() - 1
            before = expected.copy()
            for i, top in enumerate(cells):
                for j, left in enumerate(cells):
                    y, x = top + dy, left + dx
                    mean = sum(before[(y + oy) % size, (x + ox) % size] for oy, ox in around) / 4
                    expected[y, x] = mean + amplitude**2 * draws[i, j]
        step, amplitude = half, amplitude / decay
    expected = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(cloud, expected, atol=1e-5)


def test_frost(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png"):
        tint = 250 if name == "f.png" else 100
        Image.fromarray(generator.integers(tint - 50, tint, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    pictures = weather.read_frost(str(tmp_path))
    assert len(pictures) == 5  # the sixth is never drawn in the published code
    ours, generator = corrupted("frost", (0.75, 0.45, 1.0), picture(32), pictures=pictures)
    which, down, right = generator.uniform(3)[0].tolist()
    cut = pictures[int(which * 5)][:, int(down * 8) :, int(right * 18) :][:, :32, :32].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, 0.75 * picture(32) + 0.45 * cut, atol=1e-3)
    assert corrupted("frost", (0.75, 0.45, 0.2), picture(64), pictures=pictures)[0].shape == (64, 64, 3)
    drawn = weather.drawn_frost()
    assert [float(p.float().mean()) for p in drawn] == pytest.approx([90, 210, 210, 149, 124], abs=6)
    with pytest.raises(UserError, match=r"no \.png or \.jpg"):
        weather.read_frost(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", NAMES)
def test_is_a_function_of_the_image_alone(name):
    """Not of the batch, its order, or what was corrupted before; of the seed and the severity where it is random."""
    images = torch.cat([tensor(np.roll(picture(32), shift, axis=1)) for shift in (0, 5, 9)])
    corrupt = Corruptions(seed=1)
    together = corrupt(images, name, 2)
    assert together.dtype == torch.uint8 and together.shape == images.shape
    backwards = corrupt(images.flip(0), name, 2).flip(0)
    alone = torch.cat([Corruptions(seed=1)(image[None], name, 2) for image in images])
    for other in (backwards, alone):
        assert (together.int() - other.int()).abs().max() <= 1 and (together != other).float().mean() < 1e-3
    assert torch.equal(together, Corruptions(seed=2)(images, name, 2)) == (name in FIXED)
    oblong = corrupt(images[:, :, :24], name, 3)
    assert oblong.shape == (3, 3, 24, 32) and not torch.equal(oblong, images[:, :, :24])


def test_mistakes():
    with pytest.raises(UserError, match="got the settings of size 100"):
        Corruptions(parameters=100)(tensor(picture(32)), "fog", 1)
    with pytest.raises(UserError, match="severity of 1 to 5"):
        Corruptions()(tensor(picture(32)), "fog", 6)
