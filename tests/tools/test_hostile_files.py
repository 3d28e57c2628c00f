"""Every tool that is given a checkpoint refuses a malicious, a broken and a wrong one in one line, and runs nothing of
it. What the readers themselves take and refuse is in tests/mimtransfer/checkpoints/test_safe_load.py.
"""
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from own_tool import call_tool
from PIL import Image
from safetensors.torch import save_file

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.checks import FAIL
from mimtransfer.checks.config import check_config

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
FINETUNE = str(ROOT / "configs/classification/finetune_vit-tiny-p4_5e_cifar10.py")
CALLS = {
    "train --pretrained": ("train", CONFIG, "--pretrained", "{}"),
    "train --resume": ("train", CONFIG, "--resume", "{}"),
    "test": ("test", FINETUNE, "{}"),
    "predict": ("predict", CONFIG, "{}", "image.png"),
    "convert_checkpoint": ("convert_checkpoint", "{}", "out.safetensors", "--to", "timm"),
}


class Touch:
    """Pickle as a call that leaves a file behind."""

    def __reduce__(self):
        return open, ("witness", "w")


def whole():
    buffer = io.BytesIO()
    torch.save({"state_dict": {"encoder.blocks.0.norm1.weight": torch.ones(300)}}, buffer)
    return buffer.getvalue()


FILES = {  # name: (how it is written, what the line must say)
    "payload.pth": (lambda path: torch.save({"state_dict": {}, "meta": Touch()}, path), "could run code"),
    "legacy.pth": (lambda path: torch.save([Touch()], path, _use_new_zipfile_serialization=False), "could run code"),
    "payload.pkl": (lambda path: path.write_bytes(pickle.dumps({"w": np.ones(2), "x": Touch()})), "could run code"),
    "cut.pth": (lambda path: path.write_bytes(whole()[:-200]), "cut off or damaged"),
    "header.safetensors": (lambda path: path.write_bytes((20).to_bytes(8, "little") + b'{"a":1}' * 9), "damaged"),
    "metadata.safetensors": (lambda path: save_file({"w": torch.ones(2)}, path, {"mimtransfer": "{"}), "damaged"),
    "shape.safetensors": (lambda path: wrong_shape(path), "cut off or damaged"),
}


def wrong_shape(path):
    """Write a file whose header says more numbers than there are."""
    save_file({"w": torch.ones(8)}, path)
    path.write_bytes(path.read_bytes().replace(b'"shape":[8]', b'"shape":[9]'))


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Run a tool's main() in this process, in an empty folder; return its exit status and what stderr says."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("image.png")

    def run(tool, *args):
        return call_tool(tool, *args), capfd.readouterr().err

    return run


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("tool", CALLS)
def test_a_malicious_or_broken_file_is_refused_in_one_line(tool, file, call, tmp_path):
    write, says = FILES[file]
    write(tmp_path / file)
    status, error = call(*(word.format(file) for word in CALLS[tool]))
    lines = [line for line in error.splitlines() if "error" in line.lower()]
    assert status == 2 and len(lines) == 1 and says in lines[0] and file in lines[0], error
    assert "Traceback" not in error and not (tmp_path / "witness").exists()


@pytest.mark.parametrize("file", FILES)
def test_the_doctor_reports_it_as_a_finding(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, says = FILES[file]
    write(tmp_path / file)
    lines = [str(finding) for finding in check_config(CONFIG, [], file, 1) if finding.level == FAIL]
    assert sum(says in line and file in line for line in lines) == 1 and not (tmp_path / "witness").exists()


@pytest.mark.parametrize(("tool", "says"), [("predict", "lacks"), ("convert_checkpoint", "no encoder that is known")])
def test_the_file_of_another_model_is_refused(tool, says, call, tmp_path):
    torch.save({"state_dict": {"text.embedding.weight": torch.ones(3)}}, tmp_path / "other.pth")
    status, error = call(*(word.format("other.pth") for word in CALLS[tool]))
    assert status == 2 and says in error and "Traceback" not in error
