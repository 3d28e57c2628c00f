"""Transforms: the box that is recorded is the box that is shown, and is distributed as torchvision's."""
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import ColorJitter

from mimtransfer.errors import UserError
from mimtransfer.registry import TRANSFORMS
from pretrain.data import CenterCrop, RandomResizedCropFlip, ResizeWhole, StoredImage
from pretrain.data import transforms as module
from pretrain.data.transforms import jitter_colors


def coordinates(height, width):
    """Red is the column, green the row, in 0..1 as fractions of 255: smooth, so that resizing keeps them."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, :, 0] = ((np.arange(width) + 0.5) / width * 255).round()
    pixels[:, :, 1] = ((np.arange(height)[:, None] + 0.5) / height * 255).round()
    return StoredImage(Image.fromarray(pixels))


@pytest.mark.parametrize(
    "transform",
    [
        RandomResizedCropFlip(32),
        RandomResizedCropFlip((24, 40), scale=(0.05, 0.3), ratio=(0.5, 2), interpolation="bilinear"),
        RandomResizedCropFlip(32, flip=1.0),
        ResizeWhole((30, 20)),
        CenterCrop(32),
        CenterCrop((40, 20), ratio=1.0, interpolation="lanczos"),
    ],
)
def test_record_says_which_pixels_are_shown(transform):
    height, width = transform.size
    flips = 0
    for seed in range(30):
        pixels, (y0, x0, y1, x1), flip = transform(coordinates(200, 300), Random(seed))
        assert pixels.shape == (3, height, width) and pixels.dtype == torch.uint8
        column, row = pixels[0].float().mean(0) / 255, pixels[1].float().mean(1) / 255
        expected_row = y0 + (torch.arange(height) + 0.5) / height * (y1 - y0)
        expected_column = x0 + (torch.arange(width) + 0.5) / width * (x1 - x0)
        if flip:
            expected_column = expected_column.flip(0)
            flips += 1
        # Half a grey level for rounding, twice; a cropped border has no neighbours to average with.
        assert (row - expected_row)[2:-2].abs().max() < 1.5 / 255
        assert (column - expected_column)[2:-2].abs().max() < 1.5 / 255
    assert flips == {0.5: flips, 1.0: 30}.get(getattr(transform, "flip", None), 0)


def test_resize_whole_has_the_identity_record():
    _, box, flip = ResizeWhole(16)(coordinates(33, 57), Random(0))
    assert box == (0, 0, 1, 1) and flip is False


@pytest.mark.parametrize(
    "size, height, width, expected",
    [
        (224, 256, 256, (16, 16, 240, 240)),  # resize to 256 and crop 224, in one
        (224, 512, 1024, (32, 288, 480, 736)),
        ((100, 50), 400, 400, (25, 112, 375, 287)),
        (32, 1, 1, (0, 0, 1, 1)),
    ],
)
def test_center_crop_box(size, height, width, expected):
    _, box, _ = CenterCrop(size)(coordinates(height, width), Random(0))
    assert box == tuple(e / n for e, n in zip(expected, (height, width, height, width)))


class _TorchDraws:
    """torch's global generator in the clothes of `random.Random`, to draw what torchvision draws."""

    def random(self):
        return torch.empty(1).uniform_(0, 1).item()


@pytest.mark.parametrize("height, width", [(375, 500), (32, 32), (20, 300), (300, 20), (1, 1), (7, 2)])
@pytest.mark.parametrize(
    "scale, ratio", [((0.2, 1.0), (3 / 4, 4 / 3)), ((0.01, 0.1), (0.1, 10.0)), ((0.9, 1.0), (2.0, 3.0))]
)
def test_boxes_are_torchvisions_on_the_same_random_numbers(monkeypatch, height, width, scale, ratio):
    monkeypatch.setattr(module, "_below", lambda rng, end: torch.randint(0, end, size=(1,)).item())
    transform = RandomResizedCropFlip(8, scale=scale, ratio=ratio)
    image = torch.empty(3, height, width)
    different = 0
    for seed in range(60):
        torch.manual_seed(seed)
        got = transform.draw_box(height, width, _TorchDraws())
        torch.manual_seed(seed)
        top, left, h, w = RandomResizedCrop.get_params(image, list(scale), list(ratio))
        assert 0 <= got[0] < got[2] <= height and 0 <= got[1] < got[3] <= width
        different += got != (top, left, top + h, left + w)
    # torchvision draws in float32: a side at the edge of rounding may differ, and with it the following numbers.
    assert different <= 1


def test_boxes_are_distributed_as_torchvisions():
    transform = RandomResizedCropFlip(8)
    image = torch.empty(3, 60, 80)
    rng = Random(0)
    ours = np.array([transform.draw_box(60, 80, rng) for _ in range(4000)], dtype=float)
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    theirs = np.array(theirs, dtype=float)
    theirs[:, 2:] += theirs[:, :2]
    for mine, other in zip(ours.T, theirs.T):
        # Kolmogorov-Smirnov, two samples of 4000: above 0.044 with probability 0.001.
        steps = np.unique(np.concatenate([mine, other]))
        gap = np.searchsorted(np.sort(mine), steps, "right") - np.searchsorted(np.sort(other), steps, "right")
        assert np.abs(gap).max() / 4000 < 0.044


def test_half_of_the_images_are_flipped():
    transform = RandomResizedCropFlip(4)
    image = coordinates(20, 20)
    flips = sum(transform(image, Random(seed))[2] for seed in range(2000))
    assert abs(flips - 1000) < 4 * 2000**0.5 / 2
    assert not any(RandomResizedCropFlip(4, flip=0)(image, Random(seed))[2] for seed in range(50))


def test_a_transform_draws_only_from_its_generator():
    image = coordinates(50, 70)
    transform = RandomResizedCropFlip(16)
    first = transform(image, Random(3))
    torch.manual_seed(1)
    np.random.seed(1)
    second = transform(image, Random(3))
    assert torch.equal(first[0], second[0]) and first[1:] == second[1:]
    assert transform(image, Random(4))[1] != first[1]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("RandomResizedCropFlip", {"size": 0}, "got size=0, expected a positive int or"),
        ("RandomResizedCropFlip", {"size": (32, -1)}, r"got size=\(32, -1\), expected a positive int"),
        ("ResizeWhole", {"size": (1, 2, 3)}, r"got size=\(1, 2, 3\)"),
        ("ResizeWhole", {"size": "32"}, "got size='32'"),
        ("CenterCrop", {"size": 32.0}, "got size=32.0"),
        ("CenterCrop", {"size": True}, "got size=True"),
        ("CenterCrop", {"size": 32, "ratio": 0}, "got ratio=0, expected 0 < ratio <= 1"),
        ("RandomResizedCropFlip", {"size": 32, "interpolation": "cubic"}, "got interpolation='cubic', expected one of"),
        ("RandomResizedCropFlip", {"size": 32, "scale": (0, 1)}, r"got scale=\(0, 1\)"),
        ("RandomResizedCropFlip", {"size": 32, "scale": (0.5, 0.2)}, r"got scale=\(0.5, 0.2\)"),
        ("RandomResizedCropFlip", {"size": 32, "scale": 0.2}, "got scale=0.2"),
        ("RandomResizedCropFlip", {"size": 32, "ratio": (2, 1)}, r"got ratio=\(2, 1\)"),
        ("RandomResizedCropFlip", {"size": 32, "flip": 1.5}, "got flip=1.5"),
    ],
)
def test_wrong_settings_are_refused(name, options, message):
    with pytest.raises(UserError, match=message) as caught:
        TRANSFORMS.build({"type": name, **options})
    assert "\n" not in str(caught.value)


def test_color_jitter_is_torchvisions():
    image = np.random.RandomState(0).randint(0, 256, (3, 24, 20)).astype(np.uint8)
    pixels, seen = torch.from_numpy(image), set()
    for seed in range(40):
        rng = Random(seed)
        factors, keys = [0.6 + 0.8 * rng.random() for _ in range(3)], [rng.random() for _ in range(3)]
        order = tuple(sorted(range(3), key=keys.__getitem__))
        expected = pixels
        for i in order:
            bounds = [(factors[i],) * 2 if k == i else None for k in range(3)]
            expected = ColorJitter(*bounds)(expected)
        # It rounds factors to float32; three roundings to whole grey levels follow.
        assert (jitter_colors(pixels, 0.4, Random(seed)).int() - expected.int()).abs().max() <= 2
        seen.add(order)
    assert len(seen) == 6


@pytest.mark.parametrize("kind", [dict(type="CenterCrop"), dict(type="RandomResizedCropFlip", flip=1.0)])
def test_color_jitter_changes_no_box_and_follows_from_the_seed(kind):
    plain, jittered = (TRANSFORMS.build(dict(kind, size=16, color_jitter=strength)) for strength in (0.0, 0.4))
    shown = [transform(coordinates(40, 30), Random(3)) for transform in (plain, jittered, jittered)]
    assert shown[0][1:] == shown[1][1:]
    assert torch.equal(shown[1][0], shown[2][0]) and not torch.equal(shown[0][0], shown[1][0])
    with pytest.raises(UserError, match=f"{kind['type']}: got color_jitter=-1, expected 0 or more"):
        TRANSFORMS.build(dict(kind, size=16, color_jitter=-1))
