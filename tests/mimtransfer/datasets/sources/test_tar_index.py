"""The places of images in a tar shard are found once, and again when it has changed."""
import io
import os
import tarfile

import numpy as np
import pytest

from mimtransfer.datasets.sources import tar_index
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.errors import UserError


@pytest.fixture
def shard(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tar_index, "KEPT_FROM", 3)
    write(tmp_path / "a.tar", "abc")
    return tmp_path / "a.tar"


def write(path, letters):
    with tarfile.open(path, "w") as tar:
        for letter in letters:
            for ending, content in (("png", letter.encode() * 700), ("cls", str(ord(letter) - 97).encode())):
                info = tarfile.TarInfo(f"ünter/{letter}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def contents(path, **options):
    source = open_source(str(path), **options)
    return [source.read(number)[:1] for number in range(len(source))], [source.name(k) for k in range(len(source))]


@pytest.fixture
def opened(monkeypatch):
    """Names of the shards whose headers were read."""
    found, index = [], tar_index.index_tar
    monkeypatch.setattr(tar_index, "index_tar", lambda path, *rest: (found.append(path), index(path, *rest))[1])
    return found


def test_read_once(shard, opened):
    first = contents(shard)
    assert first[0] == [b"a", b"b", b"c"] and len(opened) == 1
    assert contents(shard) == first and len(opened) == 1
    assert open_source(str(shard), with_classes=True).labels.tolist() == [0, 1, 2] and len(opened) == 2
    assert open_source(str(shard), with_classes=True).labels.tolist() == [0, 1, 2] and len(opened) == 2
    assert contents(shard, extensions=(".cls",))[0] == [b"0", b"1", b"2"]


def test_again_when_it_has_changed(shard, opened):
    contents(shard)
    state = os.stat(shard)
    write(shard, "cba")
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert contents(shard)[0] == [b"c", b"b", b"a"] and len(opened) == 2


@pytest.mark.parametrize("content", [b"", b"no archive", "half", "other"])
def test_a_damaged_index_is_made_anew(content, shard, opened, tmp_path):
    first = contents(shard)
    kept, = (tmp_path / "cache").rglob("*.npz")
    if content == "half":
        content = kept.read_bytes()[: kept.stat().st_size // 2]
    if content == "other":  # of a longer file
        buffer = io.BytesIO()
        np.savez(buffer, **{name: np.full(4, 10**9) for name in tar_index._PARTS})
        content = buffer.getvalue()
    kept.write_bytes(content)
    assert contents(shard) == first and len(opened) == 2
    assert contents(shard) == first and len(opened) == 2


def test_a_cut_shard_is_said_each_time(shard, opened, monkeypatch):
    lines = []
    monkeypatch.setattr(tar_index, "print_log", lambda line, **_: lines.append(line))
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(tar_index.index_tar(str(shard)).offsets[2]) + 1024])
    for number in (1, 2):
        assert len(open_source(str(shard))) == 3 and len(lines) == number
    shard.write_bytes(whole[:600])
    for _ in range(2):
        with pytest.raises(UserError, match="no whole tar file"):
            open_source(str(shard))


def test_a_home_that_cannot_be_written_to(shard, opened, tmp_path):
    (tmp_path / "cache").write_text("a file")
    first = contents(shard)
    assert contents(shard) == first and len(opened) == 2
