"""Reading picture files: geometry, orientation, colour modes, reduced decoding."""
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from pretrain.data.decoding import StoredImage, UnreadableImage

ORIENTATION = 0x0112


def encode(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def coordinates(height, width):
    """A picture that says where each pixel lies: red is the column, green the row (both below 256), blue is 7."""
    pixels = np.full((height, width, 3), 7, dtype=np.uint8)
    pixels[:, :, 0] = np.arange(width)
    pixels[:, :, 1] = np.arange(height)[:, None]
    return pixels


def smooth(height, width, wave=50.0):
    """A picture with waves of `wave` pixels or more, which JPEG keeps. It differs from its mirror images."""
    y, x = np.mgrid[0:height, 0:width] * 2 * np.pi / wave
    waves = [np.sin(x), np.cos(y / 1.1), np.sin((x + y) / 1.7)]
    return Image.fromarray((127 + 100 * np.stack(waves, -1)).round().astype(np.uint8))


def whole(image):
    return np.asarray(image.crop((0, 0, image.height, image.width), (image.height, image.width)))


def test_box_cuts_exactly_its_pixels():
    pixels = coordinates(90, 120)
    cut = StoredImage(encode(Image.fromarray(pixels))).crop((10, 30, 50, 110), (40, 80))
    np.testing.assert_array_equal(np.asarray(cut), pixels[10:50, 30:110])


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_crop_has_the_pixels_of_torchvisions_resized_crop(name):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    got = StoredImage(encode(picture)).crop((3, 20, 83, 77), (32, 48), Image.Resampling[name.upper()])
    expected = F.resized_crop(picture, 3, 20, 80, 57, [32, 48], InterpolationMode(name))
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_box_is_in_the_frame_of_the_upright_picture(format, orientation):
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(smooth(100, 160), format, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    image = StoredImage(data)
    assert (image.height, image.width) == (upright.height, upright.width)
    assert image.height == (160 if orientation >= 5 else 100)
    got = np.asarray(image.crop((5, 20, 75, 95), (70, 75)))
    np.testing.assert_array_equal(got, np.asarray(upright)[5:75, 20:95])
    resized = np.asarray(StoredImage(data).crop((5, 20, 75, 95), (32, 24)), dtype=int)
    expected = upright.crop((20, 5, 95, 75)).resize((24, 32), Image.Resampling.BICUBIC)
    assert np.abs(resized - np.asarray(expected, dtype=int)).max() <= 1  # rows and columns are rounded in another order


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("stored_width", [1000, 1003])
def test_reduced_decoding_shows_the_same_place(orientation, stored_width):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(smooth(803, stored_width, wave=200), "JPEG", quality=95, subsampling=0, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    for size in (24, 44, 90):  # a box of 790 pixels: reduced by 8, by 8 and by 4
        image = StoredImage(data)
        height, width = image.height, image.width
        box = (height - 791, width - 793, height, width)  # where columns are lost to rounding, and odd
        got = np.asarray(image.crop(box, (size, size)), dtype=float)
        assert image._image.width < 300  # it was reduced
        cut = upright.crop((box[1], box[0], box[3], box[2]))
        expected = np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC), dtype=float)
        # The picture changes by up to 3 for each pixel out of place; at the border a draft mixes pixels.
        assert np.abs(got - expected).mean() < 0.8
        assert np.abs(got - expected)[1:-1, 1:-1].max() < 3.5
        assert np.abs(got - expected).max() < 8.0


def test_decoding_is_not_reduced_when_the_box_is_small():
    data = encode(smooth(800, 1000), "JPEG", quality=95)
    image = StoredImage(data)
    image.crop((0, 0, 223, 223), (56, 56))  # 223 < 2 * 2 * 56
    assert image._image.width == 1000
    image = StoredImage(data)
    image.crop((0, 0, 224, 224), (56, 56))
    assert image._image.width == 500


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(mode):
    picture = smooth(40, 60).convert(mode)
    # Pillow 12 (newest for Python 3.10) cannot read the YCbCr TIFF that it writes: that picture comes without a file.
    source = picture if mode == "YCbCr" else encode(picture, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(whole(StoredImage(source)), np.asarray(picture.convert("RGB")))


def test_cmyk_jpeg_is_not_inverted():
    red = Image.new("RGB", (32, 32), (255, 0, 0)).convert("CMYK")
    assert np.abs(whole(StoredImage(encode(red, "JPEG"))).astype(int) - [255, 0, 0]).max() < 10


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_white(mode):
    pixels = np.zeros((4, 6, 4), dtype=np.uint8)  # black
    pixels[:, :2, 3], pixels[:, 2:4, 3], pixels[:, 4:, 3] = 0, 51, 255
    got = whole(StoredImage(encode(Image.fromarray(pixels).convert(mode))))
    np.testing.assert_array_equal(got[0], np.repeat([[255], [255], [204], [204], [0], [0]], 3, 1))


def test_transparent_palette_colour_lies_on_white():
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    got = whole(StoredImage(encode(picture, transparency=0)))
    np.testing.assert_array_equal(got, [[[255] * 3, [40, 50, 60]], [[40, 50, 60], [255] * 3]])


def test_16_bit_grey_keeps_its_range():
    values = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    got = whole(StoredImage(encode(Image.fromarray(values))))
    np.testing.assert_array_equal(got[:, :, 0], [[0, 0, 1], [128, 255, 255]])


def test_pictures_in_memory_are_taken_as_they_are():
    picture = smooth(30, 40)
    np.testing.assert_array_equal(whole(StoredImage(picture)), np.asarray(picture))


def test_broken_exif_does_not_hide_the_picture():
    data = encode(smooth(30, 40), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + struct.pack("<H", 9999))
    assert (StoredImage(data).height, StoredImage(data).width) == (30, 40)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda data: b"", "the file is empty"),
        (lambda data: b"no picture at all", "not a picture in a format that Pillow reads"),
        (lambda data: data[: len(data) // 2], "[Tt]runcated"),
        (lambda data: data[:20], "."),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_broken_files_raise_with_the_reason(spoil, reason, format):
    data = spoil(encode(Image.fromarray(coordinates(64, 64)), format))
    with pytest.raises(UnreadableImage, match=reason) as caught:
        whole(StoredImage(data))
    assert "\n" not in str(caught.value) and "BytesIO" not in str(caught.value)


def test_32_bit_pixels_are_refused():
    data = encode(Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)), "TIFF")
    with pytest.raises(UnreadableImage, match="32-bit pixels have no defined range"):
        whole(StoredImage(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_random_damage_never_raises_anything_else(format):
    rng = np.random.default_rng(0)
    data = np.frombuffer(encode(smooth(40, 50), format), dtype=np.uint8)
    for _ in range(60):
        damaged = data.copy()
        where = rng.integers(0, min(len(damaged), 300), 6)
        damaged[where] = rng.integers(0, 256, 6)
        try:
            image = StoredImage(damaged.tobytes())
            if image.height * image.width < 10**6:
                assert image.crop((0, 0, image.height, image.width), (8, 8)).mode == "RGB"
        except UnreadableImage:
            pass
