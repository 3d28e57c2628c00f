"""Sizes of images: without decoding their pixels, turned as EXIF data say, wherever they lie in the file."""
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from mimtransfer.errors import UserError
from mimtransfer.own_data.found import Size, image_size


@pytest.fixture
def png(tmp_path):
    """Return a function that saves a PNG of noise, 40 x 30 pixels as stored."""
    def save(**options):
        pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png", **options)
        return tmp_path / "a.png"

    return save


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize(("options", "size"), [({}, Size(40, 30, 1)), ({"exif": orientation(6)}, Size(30, 40, 6))])
def test_a_png_is_not_decoded_for_its_size(png, monkeypatch, options, size):
    path = png(**options)
    monkeypatch.setattr(PngImageFile, "load", lambda self: pytest.fail("decoded"))
    assert image_size(str(path)) == size


def test_exif_data_behind_the_pixels_count(png):
    path = png(exif=orientation(8))
    content = path.read_bytes()
    begin = content.index(b"eXIf") - 4
    end = begin + 12 + struct.unpack(">I", content[begin : begin + 4])[0]
    path.write_bytes(content[:begin] + content[end:-12] + content[begin:end] + content[-12:])  # before the chunk IEND
    with Image.open(path) as image:
        assert "exif" not in image.info
    assert image_size(str(path)) == Size(30, 40, 8)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2],
                                    lambda content: content[:2000] + bytes(9) + content[2009:]])
def test_damaged_pixels_are_found(png, damage):
    path = png()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"cannot be read .*; repair it or remove it with its labels"):
        image_size(str(path))
