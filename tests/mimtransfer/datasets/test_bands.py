"""Images of 1 to 16 channels and 8 to 32 bits: what is read, what is refused, and statistics against numpy's."""
import io
import json
import sys

import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from PIL import Image

from mimtransfer.cli.bands import set_bands
from mimtransfer.datasets.bands import LoadBands, read_bands, show_bands
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.statistics import RunningMoments, measure, read_statistics
from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError

RNG = np.random.default_rng(0)


def pixels(channels=4, dtype="uint16", height=6, width=5):
    if dtype == "float32":
        return RNG.normal(3.0, 2.0, (height, width, channels)).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


FORMS = {
    "npy": npy, "npy, channels first": lambda a: npy(a.transpose(2, 0, 1)),
    "npy, Fortran order": lambda a: npy(np.asfortranarray(a)), "npy, big-endian": lambda a: npy(a.astype(">u2")),
    "tiff": lambda a: tiff(a, photometric="minisblack", planarconfig="contig"),
    "tiff, planes": lambda a: tiff(a.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"),
    "tiff, pages": lambda a: tiff(a.transpose(2, 0, 1), photometric="minisblack"),
    "tiff, big-endian": lambda a: tiff(a, photometric="minisblack", planarconfig="contig", byteorder=">"),
    "tiff, deflate": lambda a: tiff(a, photometric="minisblack", planarconfig="contig", compression="zlib"),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_channels_and_bits_are_kept(form):
    array = pixels()
    read = read_bands(FORMS[form](array), 4)
    assert read.dtype == np.uint16 and read.dtype.isnative
    assert np.array_equal(read, array)


@pytest.mark.parametrize("content, expected", [
    (lambda a: npy(a[:, :, 0]), lambda a: a[:, :, :1]), (lambda a: png(a[:, :, 0]), lambda a: a[:, :, :1]),
    (lambda a: tiff(a[:, :, 0]), lambda a: a[:, :, :1]),
    (lambda a: png((a >> 8).astype(np.uint8)), lambda a: a >> 8),
], ids=["npy", "16-bit png", "16-bit tiff", "8-bit rgba png"])
def test_grey_files_and_pictures(content, expected):
    array = pixels()
    assert np.array_equal(read_bands(content(array)), expected(array))


BROKEN = {
    "another number": (npy(pixels(5)), "5 channels, expected 4 (in_chans)"),
    "float64": (npy(pixels().astype(float)), "pixels of float64, expected uint8, uint16 or float32"),
    "objects": (npy(np.array([{}, None], dtype=object)), "an array of object, expected uint8, uint16, float32"),
    "four axes": (npy(np.zeros((2, 3, 4, 4), np.uint8)), "an array [2, 3, 4, 4], expected height, width and channels"),
    "cut npy": (npy(pixels())[:-3], "bytes do not hold an array [6, 5, 4] of uint16"),
    "header only": (b"\x93NUMPY\x01\x00", "ValueError"),
    "cut tiff": (FORMS["tiff"](pixels())[:60], ""),
    "no image": (b"<html>", "not a picture"), "empty": (b"", "the file is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_says_why(case):
    content, says = BROKEN[case]
    with pytest.raises(UnreadableImage) as error:
        read_bands(content, 4)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_tiff_without_tifffile_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"pip install 'mimtransfer\[tiff\]'"):
        read_bands(FORMS["tiff"](pixels()))


def test_a_step_loads_what_a_file_holds(tmp_path):
    array = pixels()
    (tmp_path / "a.npy").write_bytes(npy(array))
    found = LoadBands(4)(dict(img_path=str(tmp_path / "a.npy")))
    assert found["img"].dtype == np.float32 and np.array_equal(found["img"], array)
    assert found["img_shape"] == found["ori_shape"] == (6, 5)
    (tmp_path / "a.npy").write_bytes(npy(np.full((2, 2, 4), np.nan, np.float32)))
    with pytest.raises(UserError, match=r"a.npy' cannot be read \(NaN or infinite pixels"):
        LoadBands(4)(dict(img_path=str(tmp_path / "a.npy")))
    assert LoadBands(4, max_corrupt=1)(dict(img_path=str(tmp_path / "a.npy"))) is None


def test_bands_are_shown_as_colours():
    array = pixels(dtype="uint8")
    assert np.array_equal(show_bands(array), array[:, :, :3])
    shown = show_bands(pixels(1))
    assert shown.shape == (6, 5, 3) and shown.min() == 0 and shown.max() == 255


@pytest.mark.parametrize("dtype, channels", [("uint8", 4), ("uint16", 1), ("float32", 13)])
def test_statistics_equal_numpys(dtype, channels, tmp_path):
    arrays = [pixels(channels, dtype, 4 + n, 9 - n) for n in range(6)]
    for number, array in enumerate(arrays):
        (tmp_path / f"{number}.npy").write_bytes(npy(array))
    from mimtransfer.datasets.bands import BAND_EXTENSIONS

    found, left_out = measure(open_source(str(tmp_path), extensions=BAND_EXTENSIONS), channels)
    every = np.concatenate([array.reshape(-1, channels) for array in arrays]).astype(np.float64)
    for name in ("mean", "std", "min", "max"):
        assert np.allclose(getattr(found, name), getattr(np, name)(every, axis=0), rtol=1e-12)
    assert (found.dtype, found.images, found.pixels, left_out) == (dtype, 6, len(every), [])
    assert found.value_range == ((([0.0] * 4), [255.0] * 4) if dtype == "uint8" else (found.min, found.max))


def test_large_values_with_small_differences_lose_nothing():
    moments = RunningMoments()
    arrays = [1e7 + RNG.normal(0, 1e-2, (50, 40, 1)) for _ in range(20)]
    for array in arrays:
        moments.add(array)
    assert moments.std[0] == pytest.approx(np.concatenate(arrays).std(), rel=1e-6)


def test_images_that_do_not_fit_are_named_and_counted(tmp_path):
    for name, array in dict(a=pixels(), b=pixels(5), c=pixels(dtype="uint8"), d=pixels()).items():
        (tmp_path / f"{name}.npy").write_bytes(npy(array))
    source = open_source(str(tmp_path), extensions=(".npy",))
    found, left_out = measure(source, max_corrupt=2)
    assert found.images == 2 and [line.split("/")[-1] for line in left_out] == [
        "b.npy (5 channels, expected 4 (in_chans))", "c.npy (pixels of uint8, those before were uint16)"]
    with pytest.raises(UserError, match=r"more than 1 images cannot be read, the last is .*c\.npy"):
        measure(source, max_corrupt=1)


GOOD = dict(dtype="uint16", images=2, pixels=8, mean=[5.0, 6], std=[1.0, 2.0], min=[0, 0], max=[9.0, 9.0])


@pytest.mark.parametrize("change, says", [
    (dict(std=[1.0, 0.0]), "expected std > 0"), (dict(mean=[1.0]), "std has 2 values, expected as many as mean"),
    (dict(mean=[1.0, "x"]), "expected finite numbers"), (dict(max=[float("inf"), 1.0]), "expected finite numbers"),
    (dict(dtype="int8"), "dtype is 'int8'"), (dict(images=0), "0 images"), (dict(mean="5"), "field 'mean' is a str"),
    ({key: [1.0] * 17 for key in ("mean", "std", "min", "max")}, "expected as many as mean, 1 to 16"),
])
def test_a_statistics_file_is_checked(change, says, tmp_path):
    path = tmp_path / "stats.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError, match=says) as error:
        read_statistics(path)
    assert "tools/dataset_stats.py" in str(error.value) and "\n" not in str(error.value)


def config(path, **more):
    preprocessor = dict(type="BandPreprocessor", statistics=str(path))
    return Config(dict(model=dict(encoder=dict(type="TimmViT"), data_preprocessor=preprocessor),
                       train_dataloader=dict(dataset=dict(type="ImageFolder")), **more))


def test_one_setting_and_one_file_go_where_they_are_read(tmp_path):
    (tmp_path / "stats.json").write_text(json.dumps(GOOD))
    cfg = config(tmp_path / "stats.json", in_chans=2)
    set_bands(cfg)
    assert cfg.model.encoder.in_chans == cfg.train_dataloader.dataset.in_chans == 2
    assert cfg.model.data_preprocessor == dict(type="BandPreprocessor", mean=[5.0, 6.0], std=[1.0, 2.0], low=[0.0, 0.0],
                                               high=[9.0, 9.0])
    set_bands(cfg)  # the config of a checkpoint is read again
    cfg.in_chans = 3
    with pytest.raises(UserError, match=r"model\.encoder has in_chans=2, but the config says in_chans=3"):
        set_bands(cfg)
    with pytest.raises(UserError, match="is of 2 channels, but the config says in_chans=4"):
        set_bands(config(tmp_path / "stats.json", in_chans=4))
