"""Configs with bases of mmdet and mmseg: the same as mmengine reads, and their indices are parsed once."""
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from mimtransfer.openmmlab.config_bases import read_config

ROOT = Path(__file__).resolve().parents[3]


def test_reads_what_mmengine_reads():
    path = ROOT / "configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    assert read_config(path).to_dict() == Config.fromfile(path).to_dict()


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
