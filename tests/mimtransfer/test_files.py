"""Digest of a file, and writing in a single step."""
import os

import pytest

from mimtransfer.files import sha256_file, write_atomically


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        # FIPS 180-2, appendix B.1 and B.3: "abc", and a million times "a" (the last block is not a full one)
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_sha256_of_the_standard(tmp_path, content, digest):
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == sha256_file(str(tmp_path / "file")) == digest


def test_sha256_of_a_file_longer_than_a_block(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "b").write_bytes(b"x" * (1 << 20) + b"y")
    assert sha256_file(tmp_path / "a") != sha256_file(tmp_path / "b")


@pytest.mark.parametrize(("data", "content"), [("m\u00b2\r\n", b"m\xc2\xb2\r\n"), (b"\xff\x00", b"\xff\x00")])
def test_written_as_given(tmp_path, data, content):
    path = tmp_path / "file.json"
    path.write_bytes(b"an older and longer content")
    write_atomically(path, data)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(str(tmp_path / "file"), "")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file.json"
    path.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
