"""Provenance: digests that follow the content, not the place; git and versions asked politely."""
import hashlib
import shutil
import subprocess
import sys
import types

import pytest

from mimtransfer.results import provenance


def det(root, ann="a.json"):
    return {"dataset": {"type": "CocoDataset", "data_root": str(root), "ann_file": ann, "data_prefix": {"img": "img"}}}


def test_annotation_digest_follows_the_content(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("[]")
    cfg = {
        "train_dataloader": det(tmp_path),
        "val_dataloader": det(tmp_path, "b.json"),
        "test_dataloader": det(tmp_path),
    }
    digests = provenance.data_digests(cfg)
    line = f"ann_file {hashlib.sha256(b'{}').hexdigest()}"
    assert digests["train"] == hashlib.sha256(line.encode()).hexdigest()
    assert provenance.data_digests(cfg, "test")["eval"] == digests["train"] != digests["eval"]
    shutil.move(tmp_path / "a.json", tmp_path / "c.json")
    wrapped = {"type": "RepeatDataset", "dataset": det(tmp_path, "c.json")["dataset"]}
    assert provenance.data_digests({"train_dataloader": {"dataset": wrapped}}) == {"train": digests["train"]}
    assert provenance.data_digests({"train_dataloader": det(tmp_path, "gone.json")}) == {}


def test_index_maps_are_digested_by_their_listing(tmp_path):
    def seg(name):
        prefix = {"img_path": "img", "seg_map_path": "ann"}
        return {"train_dataloader": {"dataset": {"data_root": str(tmp_path / name), "data_prefix": prefix}}}

    for name in "xyz":
        for folder in ("img", "ann/deep"):
            (tmp_path / name / folder).mkdir(parents=True)
            (tmp_path / name / folder / "1.png").write_bytes(b"1")
    (tmp_path / "z/ann/deep/1.png").write_bytes(b"12")
    first, second, third = (provenance.data_digests(seg(name))["train"] for name in "xyz")
    assert first == second != third


def test_git_state(tmp_path):
    assert provenance.git_state(tmp_path) is None

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    assert provenance.git_state(tmp_path) is None  # a folder that nobody tracks, as in an environment inside a checkout
    git("add", "code.py")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").stdout.strip()
    (tmp_path / "new.py").write_text("untracked files are no change")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": True}


@pytest.mark.parametrize(("file", "expected"), [("/x/_ext.cpython-311.so", "compiled"), (None, "stand-in")])
def test_versions_name_the_operators_in_use(monkeypatch, file, expected):
    extension = types.ModuleType("mmcv._ext")
    extension.__file__ = file
    monkeypatch.setitem(sys.modules, "mmcv._ext", extension)
    monkeypatch.setitem(sys.modules, "mmdet", types.SimpleNamespace(__version__="3.3.0"))
    monkeypatch.delitem(sys.modules, "mmseg", raising=False)
    found = provenance.versions()
    assert found["mmcv._ext"] == expected and found["mmdet"] == "3.3.0" and "mmseg" not in found
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_what_is_not_read_is_in_no_digest(tmp_path):
    """A link to nothing ended the run in a traceback, a linked folder was passed over, notebook copies counted."""
    for place in (tmp_path / "a", tmp_path / "b"):
        (place / "ant").mkdir(parents=True)
        (place / "ant/1.png").write_bytes(b"1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/2.png").write_bytes(b"2")

    def digest(name):
        loader = {"dataset": {"type": "ClassFolder", "root": str(tmp_path / name)}}
        return provenance.data_digests({"train_dataloader": loader})["train"]

    (tmp_path / "b/ant/.ipynb_checkpoints").mkdir()
    (tmp_path / "b/ant/.ipynb_checkpoints/1.png").write_bytes(b"1")
    (tmp_path / "b/ant/._1.png").write_bytes(b"1")
    (tmp_path / "b/ant/lost.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b/ant/again").symlink_to(tmp_path / "b")
    assert digest("a") == digest("b")
    (tmp_path / "b/bee").symlink_to(tmp_path / "elsewhere")
    assert digest("a") != digest("b")
    (tmp_path / "a/bee").mkdir()
    (tmp_path / "a/bee/2.png").write_bytes(b"2")
    assert digest("a") == digest("b")
