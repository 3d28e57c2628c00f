"""`_base_ = 'mimtransfer::...'` from a folder outside, by mmengine's own reader and by ours."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.openmmlab.config_bases import read_config
from mimtransfer.suites.inputs import _read

ROOT = Path(__file__).resolve().parents[3]
LEAF = "detection/mask-rcnn_vit-demo_scenes.py"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(base):
        Path("own.py").write_text(f"_base_ = {base!r}\nmodel = dict(backbone=dict(drop_path_rate=0.3))\n")
        return "own.py"

    return written


@pytest.mark.parametrize("base", [f"mimtransfer::{LEAF}", f"mimtransfer::{LEAF.removesuffix('.py')}",
                                  "mimtransfer::mask-rcnn_vit-demo_scenes"])
def test_a_leaf_is_what_it_is_in_the_checkout(base, write):
    expected = Config.fromfile(ROOT / "configs" / LEAF).to_dict()
    expected["model"]["backbone"]["drop_path_rate"] = 0.3
    for read in (Config.fromfile, read_config):
        assert read(write(base)).to_dict() == expected  # no `_scope_` of a library called mimtransfer


def test_parts_and_bases_of_mmdet_side_by_side(write):
    base = ["mimtransfer::_base_/detection_runtime.py", "mmdet::_base_/models/faster-rcnn_r50_fpn.py"]
    cfg = Config.fromfile(write(base))
    assert cfg.default_scope == "mmdet" and cfg.model.type == "FasterRCNN" and "_scope_" not in cfg.default_hooks


@pytest.mark.parametrize(("base", "hint"), [
    ("mimtransfer::detection/mask-rcnn_vit-demo_scene.py", "'mask-rcnn_vit-demo_scenes'"),
    ("mimtransfer::_base_/data/coco_lsj-1025.py", "'_base_/data/coco_lsj-1024.py'"),
])
def test_a_typo(base, hint, write):
    for read in (Config.fromfile, read_config):
        with pytest.raises(UserError) as error:
            read(write(base))
        assert "own.py': its base " in str(error.value) and repr(base) in str(error.value) and hint in str(error.value)


def test_a_suite_knows_the_files_of_such_a_base(write):
    _, files = _read(write(f"mimtransfer::{LEAF}"))
    files = {os.path.realpath(file) for file in files}
    assert {str(ROOT / "configs" / name) for name in (LEAF, "_base_/model/mask-rcnn_vit-demo.py")} <= files


def test_mmengine_imported_before(tmp_path):
    (tmp_path / "own.py").write_text(f"_base_ = 'mimtransfer::{LEAF}'\n")
    code = ("from mmengine.config import Config; import mimtransfer, importlib; importlib.reload(mimtransfer); "
            "print(Config.fromfile('own.py').model.type)")
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == "MaskRCNN", found.stderr
