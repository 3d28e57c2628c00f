"""Each command of README and docs is run by a test, or names what it needs; code in Python is whole."""
import ast
import glob
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import timm
import torch
from doc_blocks import PAGES, ROOT, blocks, commands
from mmengine.config import Config
from own_tool import call_tool

from mimtransfer.cli.completion import script
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.shipped.configs import locate

# docs/index.md tells the reader the same: words in capitals and these places have to be filled; more than one machine
# or GPU, and packages from an index; data sets in the names of configs.
NEEDS = re.compile(r"""
    \b(?:CONFIG|CKPT|CHECKPOINT|SUITE|SRC|DST|DIR|OUT|WORK_DIR|PREDICTIONS_[AB]|IMAGE_OR_FOLDER)\b
    | (?:^|[ =/])(?:data|work_dirs|exported|checkpoints)(?:/|\ |$) | \.pth\b | \ [ab]\.segm\.json
    | ^torchrun\ | ^sbatch\ | tools/launch/ | ^pip\ install | ^mkdir\ -p\ ~
    | configs/[\w/.-]*_(?:in1k|coco|ade20k|cifar10|bccd|camvid)""", re.VERBOSE)
# What needs nothing, and takes too long to be run once more here: beginning of the command -> the test that runs it.
ELSEWHERE = {
    "python tools/make_scenes.py --bands 4 --dtype uint16": "tests/tools/test_bands.py",
    "python tools/pretrain.py configs/bands/mae_vit-demo_4-bands.py": "tests/tools/test_bands.py",
    "python tools/transfer.py configs/suites/demo.py": "tests/tools/test_transfer_suite.py",
    "python tools/gpu_report.py": "tests/tools/test_gpu_report.py",
    "python tools/compare_loss.py main .": "tests/tools/test_compare_loss.py",
    "python tools/compare_time.py main .": "tests/tools/test_compare_time.py",
    "python tools/doctor.py": "tests/mimtransfer/checks/test_doctor.py",
    "python tools/plan.py configs/pretrain/mae_vit-base_800e_in1k.py": "tests/tools/test_plan.py",
    "pip wheel .": "tests/test_wheel.py",
    "mimtransfer make-scenes": "tests/test_wheel.py",
    "mimtransfer pretrain mae_vit-demo_scenes": "tests/test_wheel.py",
    "mimtransfer train mask-rcnn_vit-demo_scenes": "tests/test_wheel.py",
}
RUN = ("python tools/table.py docs/", "--plan", "--help", "mimtransfer configs", "mimtransfer where",
       "mimtransfer completion", "make ")
ALL = [(page.relative_to(ROOT).as_posix(), command) for page in PAGES for command in commands(page)]


def elsewhere(command):
    return next((test for beginning, test in ELSEWHERE.items() if command.startswith(beginning)), None)


def is_run(command):
    return not NEEDS.search(command.partition(" --cfg-options")[0]) and any(
        word in command if word.startswith("--") else command.startswith(word) for word in RUN)


def test_every_command_is_run_or_names_what_it_needs():
    left = [pair for pair in ALL if not (is_run(pair[1]) or elsewhere(pair[1]) or NEEDS.search(pair[1]))]
    assert len(ALL) > 100 and not left


def test_what_runs_elsewhere_is_in_the_pages_and_in_the_test():
    said = [command for _, command in ALL]
    for beginning, test in ELSEWHERE.items():
        assert any(command.startswith(beginning) for command in said), beginning
        word = re.search(r"tools/(\w+)\.py|(wheel|make-scenes|mae_vit-demo|mask-rcnn_vit-demo)", beginning)
        text = (ROOT / test).read_text() + (ROOT / "tests/helpers/wheel_smoke.py").read_text()
        assert (word[1] or word[2]) in text, f"{test} does not run {beginning}"


@pytest.mark.parametrize("command", sorted({command for _, command in ALL if is_run(command)}))
def test_commands_that_need_nothing(command, tmp_path, monkeypatch, capsys):
    words = shlex.split(command.partition(" > ")[0])
    if words[0] == "make":  # what it would do; CONTRIBUTING and .ci/run do it
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr
        return
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "docs", "tools"):
        Path(name).symlink_to(ROOT / name)
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    if words[:2] == ["mimtransfer", "completion"]:
        assert script(words[2])
        return
    if words[0] == "mimtransfer":
        from mimtransfer.cli import command as console

        monkeypatch.setattr("sys.argv", words)
        console.main()
    else:
        assert words[0] == "python"
        assert not call_tool(Path(words[1]).stem, *words[2:])
    assert len(capsys.readouterr().out) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_short_names_of_configs_are_known(page):
    """After `mimtransfer pretrain|train|...`, also in transcripts."""
    text = "\n".join(blocks(page, "bash", "sh", "console", ""))
    named = re.findall(r"mimtransfer (?:pretrain|train|test|predict|plan|doctor|where|transfer) ([a-z][\w-]*)(?= |$)",
                       text, re.MULTILINE)
    tools = {path.stem for path in (ROOT / "tools").glob("*.py")}
    assert not [name for name in named if name not in tools and not (locate(name) or locate(name, suites=True))]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "architecture.md"], ids=lambda page: page.name)
def test_python_is_whole(page):
    """Signatures alone, as docs/architecture.md has them, are none."""
    for text in blocks(page, "python"):
        ast.parse(text)


def test_configs_of_the_pages_can_be_read(tmp_path):
    """Those with a base: resolved with it, so that its keys are still there."""
    read = 0
    for page in PAGES:
        for number, text in enumerate(text for text in blocks(page, "python") if text.startswith("_base_")):
            file = tmp_path / f"{page.stem}_{number}.py"
            file.write_text(re.sub(r'"\.\./(\w+/)', r'"mimtransfer::\1', text))
            cfg = Config.fromfile(file)
            assert cfg.model and cfg.train_dataloader.dataset
            read += 1
    assert read == 2


def test_the_comparison_of_strategies_runs(tmp_path, monkeypatch, capsys):
    (text,) = blocks(ROOT / "docs/semantic-masking.md", "python")
    make_scenes(tmp_path / "scenes", SceneSet(counts={"train": 1, "val": 1, "unlabelled": 4}), 1, progress=False)
    monkeypatch.setattr("sys.argv", ["compare.py", str(tmp_path / "scenes/unlabelled"), "64"])
    exec(compile(text, "docs/semantic-masking.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() for line in lines] == ["random", "rectangles", "parts", "parts, alone", "grow",
                                                     "grow, alone"]


def test_lines_of_python_run(tmp_path, capsys):
    """What stands behind `python -c`, on a ViT-B as timm would save it."""
    torch.save(timm.create_model("vit_base_patch16_224", num_classes=0).state_dict(), tmp_path / "vit.pth")
    lines = [shlex.split(command)[2] for _, command in ALL if command.startswith("python -c")]
    assert lines
    for line in lines:
        exec(compile(line.replace("CKPT", str(tmp_path / "vit.pth")), "docs", "exec"), {})
    assert "matched" in capsys.readouterr().out
