"""Raw images of which only the rows of a box are read: the pixels of the whole, and a broken shard is still noticed."""
import io
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from mimtransfer.datasets.collate import stack_images
from mimtransfer.datasets.sources.base import Parts
from mimtransfer.datasets.sources.recognise import open_source
from pretrain.data import ImageSource
from pretrain.data.decoding import StoredImage, TurboImage, UnreadableImage

BICUBIC, BILINEAR, LANCZOS = (Image.Resampling[name] for name in ("BICUBIC", "BILINEAR", "LANCZOS"))
SIZES = [(40, 60), (33, 7), (1, 1), (64, 64), (5, 90)]


def raw(height, width):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()


def pack(path, contents):
    with tarfile.open(path, "w") as tar:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"{number}.ppm")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture
def shard(tmp_path):
    return pack(tmp_path / "a.tar", [raw(*size) for size in SIZES])


def boxes(height, width, count=12):
    rng = np.random.default_rng(height + width)
    yield from ((0, 0, height, width), (height - 1, width - 1, height, width), (0, 0, 1, 1), (0, 0, height, 1))
    for _ in range(count):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        yield top, left, int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1


@pytest.mark.parametrize("filter", [BICUBIC, BILINEAR, LANCZOS])
@pytest.mark.parametrize("number", range(len(SIZES)))
def test_rows_give_the_pixels_of_the_whole(shard, number, filter):
    source = open_source(shard)
    by_rows, whole = TurboImage(source.open(number)), TurboImage(source.read(number))
    pillow = StoredImage(source.read(number))
    assert (by_rows.height, by_rows.width) == SIZES[number] == (pillow.height, pillow.width)
    for turn, box in enumerate(boxes(*SIZES[number])):
        got = by_rows.pixels(box, (24, 16), filter, bool(turn % 2))
        assert torch.equal(got, whole.pixels(box, (24, 16), filter, bool(turn % 2)))
        top, left, bottom, right = box
        cut, edges = by_rows.cut(box, (1, 1), (200, 200))
        assert np.array_equal(cut, np.asarray(pillow.crop(box, (bottom - top, right - left), BILINEAR)))
        if filter != LANCZOS:  # which Pillow resizes
            planes = torch.from_numpy(cut.copy()).permute(2, 0, 1).contiguous()[None]
            shown = interpolate(planes, (24, 16), mode=filter.name.lower(), antialias=True)[0]
            assert torch.equal(got, shown.flip(2) if turn % 2 else shown)
        assert edges == (0, 0, bottom - top, right - left)


def test_only_the_rows_of_the_box_are_read(shard):
    content = open_source(shard).open(0)
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        return content.read(start, stop)

    TurboImage(Parts(read, content.size)).pixels((10, 0, 15, 20), (8, 8), BICUBIC)
    assert sum(asked) <= 5 * 60 * 3 + 32


def test_a_shard_that_became_shorter_is_noticed_whichever_rows_are_shown(shard):
    source = open_source(shard)
    opened = TurboImage(source.open(3))
    os.truncate(shard, int(source.offsets[3]) + 210)
    with pytest.raises(UnreadableImage, match="the shard ends after 210 of its"):
        source.open(3)
    opened.pixels((0, 0, 1, 64), (8, 8), BICUBIC)  # these are there
    with pytest.raises(UnreadableImage, match="the shard ends after 210 of its"):
        opened.pixels((0, 0, 2, 64), (8, 8), BICUBIC)
    with pytest.raises(UnreadableImage, match="the shard ends after 0 of its"):
        source.open(4)
    assert TurboImage(source.open(2)).height == 1


@pytest.mark.parametrize("broken", [
    b"P6\n4 4\n255\n" + bytes(47), b"P6\n4 4\n255\n" + bytes(5), b"P6\n4", b"", b"P6\n0 4\n255\n",
    b"P6\n99999 99999\n255\n",
    b"P6\n-4 4\n255\n" + bytes(48), b"no image at all" * 9,
])
def test_broken_raw_images_are_counted_in_one_line(broken, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("pretrain.data.images.print_log", lambda line, **_: lines.append(line))
    images = ImageSource(dict(type="ResizeWhole", size=8), pack(tmp_path / "a.tar", [raw(9, 9), broken, raw(5, 4)]))
    assert [int(images[number]["record"].index) for number in range(3)] == [0, 2, 2]
    assert len(lines) == 1 and "a.tar/1.ppm cannot be read (" in lines[0] and "\n" not in lines[0]


def test_other_pictures_among_raw_ones(tmp_path):
    """What is named .ppm: comments in the header, another depth, a PNG file; Pillow reads them."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    contents = [b"P6\n# by hand\n9 6\n255\n" + pixels.tobytes(), b"P6 9 6 255\n" + pixels.tobytes(), png.getvalue()]
    source = open_source(pack(tmp_path / "a.tar", contents))
    for number in range(3):
        assert np.array_equal(np.asarray(TurboImage(source.open(number)).crop((0, 0, 6, 9), (6, 9))), pixels)


def test_a_batch_is_that_of_its_items(shard):
    images = ImageSource(dict(type="RandomResizedCropFlip", size=16), shard, seed=5)
    items = [(epoch, index) for epoch in range(3) for index in range(len(images))]
    batch, late = stack_images(images.__getitems__(items)), images.__getitems__(items)
    for number, item in enumerate(items):
        for sample in (images[item], late[number]):
            assert torch.equal(sample["inputs"], batch["inputs"][number])
            for got, expected in zip(sample["record"], batch["record"], strict=True):
                assert got.dtype == expected.dtype and torch.equal(got, expected[number])
    assert [field.dtype for field in batch["record"]] == [torch.int64, torch.int64, torch.float32, torch.bool]
