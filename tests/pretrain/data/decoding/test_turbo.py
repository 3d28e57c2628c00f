"""The fast decoder against Pillow's: the same boxes, sizes and faults, pixels equal but for rounding."""
import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from mimtransfer.errors import UserError
from pretrain.data import ImageFolder
from pretrain.data.decoding import StoredImage, TurboImage, UnreadableImage, choose_decoder, turbo
from pretrain.data.decoding.turbo import read_size

BICUBIC, BILINEAR, LANCZOS = (Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "LANCZOS"))


def photograph(number=0, **options):
    """Return the JPEG file of a real photograph of scikit-learn, 427 x 640."""
    buffer = io.BytesIO()
    image = Image.fromarray(load_sample_images().images[number]).convert(options.pop("mode", "RGB"))
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def difference(data, box, size, filter=BICUBIC, flip=False):
    got = TurboImage(data).pixels(box, size, filter, flip)
    expected = StoredImage(data).pixels(box, size, filter, flip)
    assert got.permute(1, 2, 0).is_contiguous() and got.dtype == torch.uint8
    assert got.shape == expected.shape == (3, *size)
    return (got.int() - expected.int()).abs()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("filter", [BICUBIC, BILINEAR])
@pytest.mark.parametrize(("box", "size", "flip"), [
    ((3, 20, 303, 420), (224, 224), False), ((100, 200, 150, 260), (64, 96), True),
    ((0, 0, 427, 640), (427, 640), True), ((425, 638, 427, 640), (32, 32), False),
])
def test_pixels_differ_by_rounding_alone(number, filter, box, size, flip):
    wrong = difference(photograph(number), box, size, filter, flip)
    assert wrong.max() <= 2 and (wrong > 0).float().mean() < 0.1


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_reduced_decode_is_that_of_pillow(scale):
    size = (200 // scale, 300 // scale)
    assert difference(photograph(), (7, 11, 423, 633), size).float().mean() < 0.05
    image = TurboImage(photograph())
    image.pixels((7, 11, 423, 633), size, BICUBIC)
    assert list(image._pixels) == [scale]  # not decoded at its full size


@pytest.mark.parametrize("options", [
    dict(mode="L"), dict(mode="CMYK"), dict(progressive=True), dict(subsampling=0), dict(subsampling=1),
    *(dict(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([turn]) + b"\0\0\0\0\0\0")
      for turn in (3, 6, 8)),
])
def test_kinds_of_jpeg(options):
    data = photograph(1, **options)
    wrong = difference(data, (10, 30, 310, 330), (112, 96))
    assert wrong.max() <= 2 and wrong.float().mean() < 0.1


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_other_formats_and_filters_are_pillows(format):
    buffer = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).save(buffer, format)
    assert difference(buffer.getvalue(), (3, 20, 303, 420), (96, 96)).max() == 0
    assert difference(photograph(), (3, 20, 303, 420), (96, 96), LANCZOS).max() == 0


def test_one_image_shown_several_times():
    """At another reduction each time: what was decoded before is not taken for it."""
    data = photograph()
    boxes = [((0, 0, 427, 640), (50, 80)), ((0, 0, 427, 640), (400, 600)), ((9, 9, 400, 600), (90, 120))]
    for kind in (StoredImage, TurboImage):
        image = kind(data)
        for box, size in boxes:
            torch.testing.assert_close(image.pixels(box, size, BICUBIC), kind(data).pixels(box, size, BICUBIC))


@pytest.mark.parametrize("harm", ["cut", "scan"])
def test_broken_files_are_those_of_pillow(harm):
    """What libjpeg only warns of is read by both alike, what is cut by neither."""
    data = bytearray(photograph())
    data = data[: len(data) // 2] if harm == "cut" else data[:-2000] + bytes(500) + data[-1500:]
    outcomes = []
    for kind in (StoredImage, TurboImage):
        try:
            outcomes.append(kind(bytes(data)).pixels((0, 0, 427, 640), (427, 640), BICUBIC).int())
        except UnreadableImage as error:
            outcomes.append(str(error))
    assert type(outcomes[0]) is type(outcomes[1])
    if harm == "cut":
        assert outcomes[0] == outcomes[1]
    else:
        assert torch.equal(outcomes[0], outcomes[1])


def test_the_size_of_a_plain_file_is_known_without_pillow(monkeypatch):
    data = photograph()
    assert read_size(data) == (427, 640)
    assert read_size(photograph(mode="L")) == (427, 640)
    described, opened = TurboImage(data), StoredImage(data)
    for name in ("height", "width", "is_plain_jpeg", "_size", "_orientation", "_is_jpeg"):
        assert getattr(described, name) == getattr(opened, name), name
    # What Pillow may have a word on: EXIF data, CMYK, a header that is cut or broken, no JPEG, far too large.
    exif = Image.Exif()
    exif[274] = 6
    assert read_size(photograph(exif=exif.tobytes())) is None and read_size(photograph(mode="CMYK")) is None
    assert [read_size(wrong) for wrong in (b"", data[:2], data[:100], data[:20] + bytes(9) + data[29:])] == [None] * 4
    assert read_size(b"P6\n2 2\n255\n" + bytes(12)) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 427 * 640 - 1)
    assert read_size(data) is None


@pytest.mark.parametrize("filter", [BICUBIC, BILINEAR])
@pytest.mark.parametrize("flip", [False, True])
def test_raw_pixels_are_those_of_torch_on_planes(filter, flip):
    """Interleaved pixels are resized by another branch of torch's kernel, which must not round otherwise."""
    image = load_sample_images().images[0]
    raw = b"P6\n640 427\n255\n" + image.tobytes()
    for top, left, bottom, right in ((0, 0, 427, 640), (10, 30, 210, 270), (100, 5, 131, 640)):
        cut = torch.from_numpy(image[top:bottom, left:right].copy()).permute(2, 0, 1).contiguous()[None]
        expected = torch.nn.functional.interpolate(cut, (96, 80), mode=filter.name.lower(), antialias=True)[0]
        got = TurboImage(raw).pixels((top, left, bottom, right), (96, 80), filter, flip)
        assert torch.equal(got, expected.flip(2) if flip else expected)


def test_choice(monkeypatch, tmp_path):
    assert choose_decoder() is TurboImage and choose_decoder("pillow") is StoredImage
    monkeypatch.setattr(turbo, "decode_jpeg", None)
    assert choose_decoder() is StoredImage
    with pytest.raises(UserError, match="pip install simplejpeg"):
        choose_decoder("turbo")
    with pytest.raises(UserError, match="'pilow' is unknown; did you mean 'pillow'"):
        choose_decoder("pilow")


def test_a_data_set_shows_the_same_record(tmp_path):
    for number in (0, 1):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number))
    transform = dict(type="RandomResizedCropFlip", size=64)
    sets = [ImageFolder(transform, str(tmp_path), seed=3, decoder=name) for name in ("pillow", "turbo")]
    for item in [(epoch, index) for epoch in range(4) for index in range(2)]:
        pillow, fast = (images[item] for images in sets)
        assert all(map(torch.equal, pillow["record"], fast["record"]))
        assert np.abs(pillow["inputs"].int() - fast["inputs"].int()).max() <= 2
    assert "simplejpeg" in sys.modules
