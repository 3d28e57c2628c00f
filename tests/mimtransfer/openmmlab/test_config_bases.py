"""Configs with bases of mmdet, mmseg and our own: the same as mmengine reads; indices and files are read once."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mimtransfer.openmmlab.config_bases import _format_once, read_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("leaf", ["detection/mask-rcnn_vitdet_vit-base_100e_coco.py",
                                  "debug/mfm_vit-debug_2e_folder.py"])
def test_reads_what_mmengine_reads(leaf, monkeypatch):
    ours = [read_config(ROOT / "configs" / leaf) for _ in range(2)]
    monkeypatch.setattr(Config, "_file2dict", staticmethod(Config._file2dict.__wrapped__))
    theirs = Config.fromfile(ROOT / "configs" / leaf)
    for cfg in ours:
        assert cfg.to_dict() == theirs.to_dict()
        assert (cfg.text, cfg.pretty_text) == (theirs.text, theirs.pretty_text)


def test_line_breaks_of_a_text_are_set_once():
    calls = []
    format_once = _format_once(lambda text, **options: (calls.append((text, options)), text.upper())[1:] + (True,))
    for text in ("a", "b", "a", "b"):
        assert format_once(text, style_config=dict(based_on_style="pep8"), verify=True) == (text.upper(), True)
    assert calls == [(text, dict(style_config=dict(based_on_style="pep8"), verify=True)) for text in "ab"]


@pytest.fixture
def leaf(tmp_path):
    """Give a config with a base that has a base."""
    (tmp_path / "first.py").write_text("model = dict(depth=1, heads=[1])\n")
    (tmp_path / "second.py").write_text("_base_ = 'first.py'\nmodel = dict(width=2)\n")
    (tmp_path / "leaf.py").write_text("_base_ = ['second.py']\nloaded = True\n")
    return tmp_path / "leaf.py"


def test_a_file_is_read_once_while_it_and_its_bases_are_as_they_were(leaf, monkeypatch):
    read_config(leaf)
    read = []
    monkeypatch.setattr(Config, "_substitute_predefined_vars", staticmethod(
        lambda path, target, substitute=Config._substitute_predefined_vars: read.append(Path(path).name) or
        substitute(path, target)))
    cfg = read_config(leaf)
    assert not read and cfg.model == dict(depth=1, heads=[1], width=2)
    cfg.model.heads.append(2)  # of a copy
    cfg.model.depth = 7
    status = (leaf.with_name("first.py")).stat()
    leaf.with_name("first.py").write_text("model = dict(depth=3, heads=[1])\n")  # of the same size
    os.utime(leaf.with_name("first.py"), ns=(status.st_atime_ns, status.st_mtime_ns))  # and, on a coarse clock, time
    assert read_config(leaf).model == dict(depth=3, heads=[1], width=2)
    assert sorted(read) == ["first.py", "leaf.py", "second.py"]
    leaf.write_text("_base_ = ['first.py']\n")
    assert read_config(leaf).to_dict() == dict(model=dict(depth=3, heads=[1])) and read[3:] == ["leaf.py"]
    leaf.with_name("first.py").unlink()
    with pytest.raises(FileNotFoundError):
        read_config(leaf)


@pytest.mark.parametrize("name, text", [
    ("first.py", "name = '{{$NAME_OF_THE_TEST:none}}'\n"),
    ("leaf.py", "_base_ = 'first.py'\nimport os\nname = os.environ.get('NAME_OF_THE_TEST', 'none')\n"),
])
def test_what_depends_on_the_environment_is_read_each_time(name, text, leaf, monkeypatch):
    leaf.with_name(name).write_text(text)
    assert read_config(leaf).name == "none"
    monkeypatch.setenv("NAME_OF_THE_TEST", "other")
    assert read_config(leaf).name == "other"


def test_indices_are_parsed_once(tmp_path):
    """In a process of its own, for other tests may have read them."""
    base = "['mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']"
    (tmp_path / "config.py").write_text(f"_base_ = {base}\n")
    code = (
        "import mmengine.config.utils as utils\nread, parse = [], utils.load\n"
        "utils.load = lambda path: read.append(str(path)) or parse(path)\n"
        "from mimtransfer.openmmlab.config_bases import read_config\n"
        f"for _ in range(2): read_config({str(tmp_path / 'config.py')!r})\n"
        "assert len(read) > 50 and len(read) == len(set(read)), len(read)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


def test_a_fork_that_takes_yapf_where_it_writes_formats_once_too():
    """onedl-mmengine 0.10.12 has no `FormatCode` in its module."""
    code = (
        "import mmengine.config.config as config, yapf.yapflib.yapf_api as yapf\n"
        "plain = yapf.FormatCode\ndel config.FormatCode\n"
        "from mimtransfer.openmmlab.config_bases import keep_bases\nkeep_bases()\n"
        "assert yapf.FormatCode is not plain\n"
        "assert yapf.FormatCode('a=1', style_config={}) == plain('a=1', style_config={})\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)
