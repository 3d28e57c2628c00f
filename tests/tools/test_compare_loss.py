"""tools/compare_loss.py, in a repository of two commits whose training tool is a few lines."""
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare_loss.py"
first_difference = runpy.run_path(str(TOOL))["first_difference"]

# Logs as mmengine does; which losses, says the package `code` of its own checkout.
TRAINING = """
import argparse, json, pathlib, sys, time
import code_of_revision
parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("--work-dir")
parser.add_argument("--seed")
parser.add_argument("--cfg-options", nargs="+")
args = parser.parse_args()
print("said before")
if "fail.py" in args.config:
    sys.exit("error: no data at data/coco; download them")
folder = pathlib.Path(args.work_dir, "now", "vis_data")
folder.mkdir(parents=True)
for step, loss in enumerate(code_of_revision.losses, 1):
    with open(folder / "scalars.json", "a") as file:
        file.write(json.dumps({"lr": 0.1, "loss": loss, "data_time": time.time(), "step": step}) + "\\n")
time.sleep(60 if "endless.py" in args.config else 0)
"""


def git(repo, *args):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(["git", "-C", repo, *identity, *args], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Give a repository: `old` and `same` train alike, `new` differs in the third step."""
    repo = tmp_path_factory.mktemp("repo")
    (repo / "tools").mkdir()
    (repo / "tools" / "train.py").write_text(TRAINING)
    for name in ("plain", "fail", "endless"):
        (repo / f"{name}.py").write_text("model = dict(type='Any', backbone=dict(type='Any'))\n")
    git(repo, "init", "-q")
    for tag, losses in (("old", [1.0, 0.5, 0.25]), ("same", [1.0, 0.5, 0.25]), ("new", [1.0, 0.5, 0.2500001])):
        (repo / "code_of_revision.py").write_text(f"losses = {losses}  # {tag}\n")
        git(repo, "add", "-A")
        git(repo, "commit", "-qm", tag)
        git(repo, "tag", tag)
    (repo / "later.py").write_text("model = dict(type='Any', backbone=dict(type='Any'))\n")
    return repo


def start(repo, temporary, *args):
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(TOOL.parents[1])}
    return subprocess.Popen([sys.executable, TOOL, *args], cwd=repo, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def compare(repo, temporary, *args):
    run = start(repo, temporary, *args)
    output, errors = run.communicate(timeout=120)
    return run.returncode, output.strip(), errors.strip()


def nothing_left(repo, temporary):
    return not list(temporary.iterdir()) and git(repo, "worktree", "list").count("\n") == 1


def test_equal_code(repo, tmp_path):
    assert compare(repo, tmp_path, "old", "same", "plain.py") == (0, "plain.py: equal, 3 steps", "")
    assert nothing_left(repo, tmp_path)


def test_first_difference_of_a_working_tree(repo, tmp_path):
    """The working tree is that of `new`; each config has its line."""
    status, output, _ = compare(repo, tmp_path, "old", ".", "plain.py", "endless.py", "--steps", "3")
    line = "step 3: loss is 0.25 in old, 0.2500001 in ."
    assert (status, output) == (1, f"plain.py: {line}\nendless.py: {line}")
    assert nothing_left(repo, tmp_path)


@pytest.mark.parametrize("args, message", [
    (("old", "gone", "plain.py"), "revision 'gone': "),
    (("old", "new", "later.py"), "config later.py: not in revision 'old'"),
    (("old", "new", "fail.py"), "error: train.py of old stopped after 0 steps: no data at data/coco; download them"),
    (("old", "new", "plain.py", "--steps", "0"), "got --steps 0"),
])  # fmt: skip
def test_mistakes_are_one_line(repo, tmp_path, args, message):
    status, output, errors = compare(repo, tmp_path, *args)
    assert (status, output) == (2, "")
    assert errors.startswith("error: ") and message in errors and "\n" not in errors
    assert nothing_left(repo, tmp_path)


@pytest.mark.usefixtures("signals_not_ignored")
def test_an_interrupted_comparison_leaves_nothing(repo, tmp_path):
    run = start(repo, tmp_path, "old", "new", "endless.py", "--steps", "9")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/0/run0/now")) and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode not in (0, 1, 2)
    assert nothing_left(repo, tmp_path)


@pytest.mark.parametrize("second, tolerance, expected", [
    ([{"loss": 1.0}, {"loss": float("nan")}], 0.0, None),
    ([{"loss": 1.0 + 1e-6}, {"loss": float("nan")}], 1e-5, None),
    ([{"loss": 1.0 + 1e-6}, {"loss": float("nan")}], 0.0, "step 1: loss is 1.0 in a, 1.000001 in b"),
    ([{"loss": 1.0}, {"loss": float("inf")}], 0.5, "step 2: loss is nan in a, inf in b"),
    ([{"loss": 1.0}, {"loss": float("nan"), "loss_box": 1.0}], 0.0, "step 2: only b logs loss_box"),
    ([{"loss": 1.0}], 0.0, "a trains 2 steps, b 1"),
])  # fmt: skip
def test_where_two_curves_differ_first(second, tolerance, expected):
    assert first_difference([[{"loss": 1.0}, {"loss": float("nan")}], second], ["a", "b"], tolerance) == expected
