"""tools/plan.py from its command line, for a config of each kind."""
import re

import pytest
from forked_tool import run_tool
from own_tool import call_tool
from shipped_configs import ROOT

TOOL = ROOT.parent / "tools" / "plan.py"

SMALL = "--memory", 2, "--tflops", 10  # few images fit
KINDS = {
    "classification/finetune_vit-tiny-p4_5e_cifar10.py": ("classification", "32 x 32", "images = "),
    "segmentation/upernet_vit-demo_scenes.py": ("segmentation", "64 x 64", "images = "),
    "detection/mask-rcnn_vit-demo_scenes.py": ("detection", "64 x 64", "64 images = 8 x 8 GPUs"),
}


@pytest.fixture
def plan(monkeypatch, capsys):
    """Run the tool in this process: half of a plan is the import of mmdet. Return its status and what it prints."""
    def run(*words):
        status = call_tool("plan", *words)
        out = capsys.readouterr()
        return status, out.out + out.err

    return run


def test_in_a_process_of_its_own(tmp_path):
    log = tmp_path / "log.txt"
    config = ROOT / "debug/mae_vit-debug_2e_folder.py"
    assert run_tool(log, config, *SMALL, tool="plan") == [0], log.read_text()
    assert "8 x GPU as given: 2 GiB, 10 TFLOP/s (as given)" in log.read_text()
    assert "hours        unknown" in log.read_text() and "give --images N" in log.read_text()


@pytest.mark.parametrize("leaf", KINDS)
def test_a_plan(leaf, plan):
    kind, size, step = KINDS[leaf]
    status, text = plan(ROOT / leaf, "--images", 1000, *SMALL)
    assert status == 0, text
    assert f"{kind}, images of {size}, bf16 autocast" in text and step in text
    parts = [float(size) for size in re.findall(r"^  [\w ,]+? +([\d.]+) GiB", text, re.MULTILINE)]
    total = float(re.search(r"^memory +([\d.]+) GiB of 2 ", text, re.MULTILINE)[1])
    assert len(parts) == 7 and sum(parts) == pytest.approx(total, abs=0.1)
    # The line through two batches holds at a third.
    assert abs(float(re.search(r"([+-][\d.]+)% at", text)[1])) < 2
    for word in ("largest", "operations", "images/s", "hours", "data"):
        assert re.search(rf"^{word} +[\d.,e-]+ ", text, re.MULTILINE), word


@pytest.mark.parametrize("words, line", [
    (["debug/mae_vit-debug_2e_folder.py", "--gpu", "h10"], "error: --gpu h10: unknown; did you mean 'h100'"),
    (["classification/knn_vit-base_in1k.py"], "trains nothing (it has no train_dataloader)"),
    (["pretrain/mae_vit-bas.py"], "no such file"),
    (["debug/mae_vit-debug_2e_folder.py", "--global-batch", "12"], "error: --global-batch 12: 8 GPUs do not divide it"),
])  # fmt: skip
def test_a_mistake_is_told_in_one_line(words, line, plan):
    status, text = plan(ROOT / words[0], *words[1:])
    assert status == 2 and line in text and len(text.splitlines()) == 1
