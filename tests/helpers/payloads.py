"""Files of a stranger: what the tests of tests/test_trust*.py put into them, and a folder to read them in."""
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from own_tool import call_tool
from PIL import Image

import pretrain.methods  # noqa: F401
from mimtransfer.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
DEBUG = ROOT / "configs/debug/mae_vit-debug_2e_folder.py"
CALL = dict(type="subprocess.getoutput", cmd="touch witness")
OPEN = dict(type="builtins.open", file="witness", mode="w")
EVIL = "open('witness', 'w')\nclass TimmViT:\n    def __init__(self, **kwargs):\n        open('witness', 'w')\n"
# No JSON, or JSON that no tool of ours wrote.
RECORDS = ["", "{", "[]", "3", "null", "[" * 100_000, '{"schema": 2, "a": ' + "[" * 200 + "]" * 200 + "}",
           '{"schema": %s}' % ("9" * 5000), '{"schema": 1e999}', '{"schema": "\\ud800"}', '{"schema": 2}', "\x00" * 100]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in a folder whose modules leave a witness when they are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Image.new("RGB", (32, 32)).save("image.png")
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "evilscope").mkdir()
    (tmp_path / "evilscope/__init__.py").write_text(EVIL)
    (tmp_path / "evilscope/registry.py").write_text(EVIL)
    yield
    for name in [name for name in sys.modules if name.startswith("evil")]:
        del sys.modules[name]
    assert not (tmp_path / "witness").exists()


@pytest.fixture
def refusal(monkeypatch, capfd):
    """Run a tool's main() in this process; return the one line that it refuses with."""

    def run(tool, *args):
        status = call_tool(tool, *args)
        error = capfd.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error:")]
        assert status == 2 and len(lines) == 1 and "Traceback" not in error, error
        return lines[0]

    return run


def checkpoint(path="x.pth", change=lambda cfg: None, text=None, **top):
    """Write what mmengine writes of a run, with another config."""
    cfg = Config.fromfile(DEBUG)
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    values = cfg.to_dict()
    change(values)
    if text is None:
        text = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    torch.save({"meta": {"cfg": text, "epoch": 2}, "state_dict": state, **top}, path)
    return path


def put(place, value):
    """Return a change of a config at a dotted place."""

    def change(cfg):
        *inner, last = place.split(".")
        for key in inner:
            cfg = cfg[key]
        cfg[last] = value

    return change


class Touch:
    """Pickle as a call that leaves a witness."""

    def __reduce__(self):
        return open, ("witness", "w")
