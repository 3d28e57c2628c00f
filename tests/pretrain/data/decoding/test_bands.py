"""The decoder of many channels: boxes, flips and sizes as for RGB, and no bit is lost."""
import io
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError
from pretrain.data.decoding import BandsImage, TurboImage, choose_decoder
from pretrain.data.images import ImageFolder, ImageSource
from pretrain.data.transforms import RandomResizedCropFlip

RNG = np.random.default_rng(0)
BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def bands(dtype, channels=4, size=(40, 30)):
    if dtype == "float32":
        return RNG.normal(0, 1, (*size, channels)).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, (*size, channels), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_box_of_its_own_size_is_the_pixels_of_the_file(dtype):
    array = bands(dtype)
    shown = BandsImage(npy(array), 4).pixels((3, 5, 23, 25), (20, 20), BICUBIC, flip=True)
    assert shown.dtype == (torch.uint8 if dtype == "uint8" else torch.float32) and shown.is_contiguous()
    assert np.array_equal(shown.numpy(), array[3:23, 5:25].transpose(2, 0, 1)[:, :, ::-1])


@pytest.mark.parametrize("filter", [BICUBIC, Image.Resampling.BILINEAR])
def test_rgb_is_resized_as_the_fast_decoder_does(filter):
    smooth = Image.fromarray(bands("uint8", 3, (8, 6))).resize((60, 80), BICUBIC)
    buffer = io.BytesIO()
    smooth.save(buffer, "PPM")
    wanted = TurboImage(buffer.getvalue()).pixels((10, 3, 71, 58), (24, 32), filter, True)
    shown = BandsImage(npy(np.asarray(smooth)), 3).pixels((10, 3, 71, 58), (24, 32), filter, True)
    assert (shown.int() - wanted.int()).abs().max() <= 1


def test_a_filter_does_not_wrap_around_and_float_keeps_its_range():
    array = np.zeros((16, 16, 1), np.uint16)
    array[:, 8:] = 65535
    shown = BandsImage(npy(array), 1).pixels((0, 0, 16, 16), (32, 32), BICUBIC)
    assert shown.min() == 0 and shown.max() == 65535 and shown.unique().numel() > 2
    field = np.linspace(-1e-3, 1e-3, 1024, dtype=np.float32).reshape(32, 32, 1)
    small = BandsImage(npy(field), 1).pixels((0, 0, 32, 32), (8, 8), BICUBIC)
    assert small.mean() == pytest.approx(0, abs=1e-9) and small.unique().numel() > 32


def test_pixels_that_are_no_numbers():
    array = bands("float32")
    array[2, 3, 1] = np.inf
    image = BandsImage(npy(array), 4)
    assert image.pixels((5, 0, 40, 30), (8, 8), BICUBIC).isfinite().all()
    with pytest.raises(UnreadableImage, match="NaN or infinite"):
        image.pixels((0, 0, 40, 30), (8, 8), BICUBIC)


def test_a_decoder_is_chosen_by_the_number_of_channels():
    assert isinstance(choose_decoder("auto", 4)(npy(bands("uint8"))), BandsImage)
    assert isinstance(choose_decoder("bands")(npy(bands("uint8", 3))), BandsImage)
    with pytest.raises(UserError, match="decoder='turbo' gives 3 channels"):
        choose_decoder("turbo", 4)
    with pytest.raises(UserError, match="in_chans=17; expected an integer, 1 to 16"):
        choose_decoder("auto", 17)


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", bands("uint16"))
    return str(tmp_path)


def transform(**more):
    return dict(type="RandomResizedCropFlip", size=16, **more)


def test_items_are_those_of_rgb_with_other_pixels(folder):
    sets = [kind(transform(), root=folder, in_chans=4, seed=3) for kind in (ImageFolder, ImageSource)]
    assert [len(images) for images in sets] == [6, 6]
    first, second = (next(iter(DataLoader(images, batch_size=6, num_workers=workers)))
                     for images, workers in zip(sets, (0, 1)))
    assert torch.equal(first["inputs"], second["inputs"]) and first["inputs"].shape == (6, 4, 16, 16)
    assert first["inputs"].dtype == torch.float32 and first["inputs"].max() > 255
    box = RandomResizedCropFlip(16).draw_box(40, 30, Random(int(first["record"].seed[0])))
    assert first["record"].box[0].tolist() == pytest.approx([box[0] / 40, box[1] / 30, box[2] / 40, box[3] / 30])


def test_a_wrong_number_of_channels_is_named_before_the_first_step(folder):
    from pretrain.data.check import check_images

    with pytest.raises(UserError, match=r"0.npy \(4 channels, expected 3 \(in_chans\)\)"):
        check_images(ImageFolder(transform(), root=folder, decoder="bands", max_corrupt=0))


@pytest.mark.parametrize("more, says", [
    (dict(color_jitter=0.4), "color_jitter=0.4 for images that are not 8-bit RGB"),
    (dict(interpolation="lanczos"), "interpolation='lanczos' for images that are not 8-bit RGB"),
])
def test_what_is_for_colours_is_refused(more, says, folder):
    with pytest.raises(UserError, match=says):
        ImageFolder(transform(**more), root=folder, in_chans=4)
