"""Images prepared in tar shards: the same images, upright and reduced, whole after a kill, named where broken."""
import io
import json
import os
import signal
import tarfile
import time
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.errors import UserError
from pretrain.data import prepare as prepare_module
from pretrain.data.decoding import TurboImage
from pretrain.data.prepare import Preparation, encode, prepare


def jpeg(number, size=(40, 60), **options):
    low = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(low).resize(size[::-1], Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        path = tmp_path / "images" / "ab"[number // 6] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return tmp_path / "images"


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("format", ["jpeg", "webp", "raw"])
def test_the_same_images_reduced(format, folder, tmp_path):
    how = Preparation(short_side=20, format=format, images_per_shard=5)
    found = prepare(str(folder), str(tmp_path / "out"), how, workers=2, max_corrupt=0)
    source, before = open_source(str(tmp_path / "out"), True), open_source(str(folder), True)
    assert found["images"] == len(source) == 12 and list(found["shards"]) == ["00000.tar", "00001.tar", "00002.tar"]
    assert source.classes == before.classes == ("a", "b") and source.labels.tolist() == before.labels.tolist()
    for index in range(12):
        expected = Image.open(io.BytesIO(before.read(index))).resize((30, 20), Image.Resampling.LANCZOS)
        if format != "raw":
            buffer = io.BytesIO()
            expected.save(buffer, format.upper(), quality=90)
            assert source.read(index) == buffer.getvalue()
        assert format != "raw" or np.array_equal(pixels(source.read(index)), np.asarray(expected))
    if format == "raw":  # the fast path knows it, Pillow too
        image = TurboImage(source.read(3))
        assert np.array_equal(image._raw.rows(0, image.height), pixels(source.read(3)))
        assert prepare_module.StoredImage(source.read(3)).width == image.width == 30


def test_numbers_stay_where_names_sort_otherwise(tmp_path):
    for number in range(11):
        path = tmp_path / "images" / str(number) / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(number))
    with tarfile.open(tmp_path / "web.tar", "w") as tar:
        for number in range(11):
            for ending, content in (("cls", str(number).encode()), ("jpg", jpeg(number))):
                info = tarfile.TarInfo(f"{number:04d}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    prepare(str(tmp_path / "web.tar"), str(tmp_path / "out"), Preparation(20), workers=1, max_corrupt=0)
    assert open_source(str(tmp_path / "out"), True).labels.tolist() == list(range(11))


def test_numbers_stay_where_a_class_has_no_image(monkeypatch, tmp_path):
    for name in "ac":
        path = tmp_path / "images" / name / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(1))
    source = open_source(str(tmp_path / "images"), True)
    source.classes, source.labels = ("a", "b", "c"), np.array([0, 2])  # as a data set of Hugging Face has them
    monkeypatch.setattr(prepare_module, "open_source", lambda *_, **__: source)
    prepare(str(tmp_path / "images"), str(tmp_path / "out"), Preparation(20), workers=1, max_corrupt=0)
    assert open_source(str(tmp_path / "out"), True).labels.tolist() == [0, 2]


def test_an_image_that_the_format_cannot_hold_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (16400, 2)).save(tmp_path / "images/long.png")
    (tmp_path / "images/short.jpg").write_bytes(jpeg(1))
    found = prepare(str(tmp_path / "images"), str(tmp_path / "out"), Preparation(format="webp"), 1, max_corrupt=1)
    assert found["images"] == 1 and "long.png (16400 x 2 pixels cannot be written" in found["unreadable"][0]


def test_a_source_that_changed_meanwhile_is_refused(folder, tmp_path):
    how = Preparation(20, images_per_shard=5)
    prepare(str(folder), str(tmp_path / "out"), how, workers=1, max_corrupt=0)
    (tmp_path / "out/00001.tar").unlink()
    (folder / "b/07.jpg").write_bytes(jpeg(77))
    with pytest.raises(UserError, match=r"images have changed since folder .* was begun"):
        prepare(str(folder), str(tmp_path / "out"), how, workers=1, max_corrupt=0)


def test_what_is_small_plain_jpeg_is_kept_as_it_is():
    how = Preparation(short_side=40)
    assert encode(jpeg(1), how) == jpeg(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels(encode(jpeg(1, exif=exif.tobytes()), how)).shape == (60, 40, 3)  # upright now
    assert Image.open(io.BytesIO(encode(jpeg(1, size=(41, 60)), how))).size == (59, 40)


def test_the_same_bytes_however_it_came_about(folder, tmp_path):
    how = Preparation(short_side=20, images_per_shard=2)
    whole = prepare(str(folder), str(tmp_path / "a"), how, workers=2, max_corrupt=0)
    prepare(str(folder), str(tmp_path / "b"), how, workers=1, max_corrupt=0)
    (tmp_path / "b/00003.tar").write_bytes(b"cut")
    (tmp_path / "b/00004.tar").unlink()
    (tmp_path / "b/.00005.part").write_bytes(b"half")
    written = (tmp_path / "b/00000.tar").stat().st_mtime_ns
    again = prepare(str(folder), str(tmp_path / "b"), how, workers=1, max_corrupt=0)
    assert again["sha256"] == whole["sha256"] and (tmp_path / "b/00000.tar").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "b/prepared.json").read_text()) == again


def test_broken_images_are_named_and_counted(folder, tmp_path):
    (folder / "a/03.jpg").write_bytes(b"<html>")
    (folder / "b/07.jpg").write_bytes(jpeg(7)[:300])
    with pytest.raises(UserError, match="more than --max-corrupt 1 images cannot be read"):
        prepare(str(folder), str(tmp_path / "a"), Preparation(20, images_per_shard=4), workers=1, max_corrupt=1)
    found = prepare(str(folder), str(tmp_path / "a"), Preparation(20, images_per_shard=4), workers=1, max_corrupt=2)
    assert found["images"] == 10 and [line.split()[0][-6:] for line in found["unreadable"]] == ["03.jpg", "07.jpg"]


def test_another_source_or_a_full_folder_is_refused(folder, tmp_path):
    prepare(str(folder), str(tmp_path / "a"), Preparation(20), workers=1, max_corrupt=0)
    with pytest.raises(UserError, match="was begun with another short_side"):
        prepare(str(folder), str(tmp_path / "a"), Preparation(24), workers=1, max_corrupt=0)
    with pytest.raises(UserError, match="is not empty"):
        prepare(str(folder), str(folder), Preparation(24), workers=1, max_corrupt=0)
    for wrong in (dict(format="gif"), dict(quality=0), dict(short_side=0), dict(images_per_shard=0)):
        with pytest.raises(UserError, match="expected"):
            Preparation(**wrong)


def test_two_runs_in_one_folder(folder, tmp_path, monkeypatch):
    """The second is refused while the first is at work: both would write the same parts."""
    monkeypatch.setattr(prepare_module, "_WAIT", 0.05, raising=False)
    how, refused = Preparation(20, images_per_shard=5), []

    def second(*_):
        if not refused:
            with pytest.raises(UserError, match="out is being filled by another run") as error:
                prepare(str(folder), str(tmp_path / "out"), how, workers=1, max_corrupt=0)
            refused.append(error)

    prepare(str(folder), str(tmp_path / "out"), how, 1, 0, progress=second)
    assert refused and prepare(str(folder), str(tmp_path / "out"), how, workers=1, max_corrupt=0)["images"] == 12


def is_alive_in_group(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_and_gone_on_with(folder, tmp_path):
    for number in range(12, 60):
        (folder / "b" / f"{number:03d}.jpg").write_bytes(jpeg(number, (200, 300)))
    how = Preparation(64, images_per_shard=3)

    def run():
        os.setsid()
        prepare(str(folder), str(tmp_path / "out"), how, workers=2, max_corrupt=0)

    process = get_context("fork").Process(target=run)
    process.start()
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("*.tar"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while is_alive_in_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left := is_alive_in_group(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    assert not left, "its workers would write beside the next run, and wait for ever"
    assert not (tmp_path / "out/prepared.json").exists()
    again = prepare(str(folder), str(tmp_path / "out"), how, workers=1, max_corrupt=0)
    whole = prepare(str(folder), str(tmp_path / "whole"), how, workers=1, max_corrupt=0)
    assert again["sha256"] == whole["sha256"] and again["images"] == 60
