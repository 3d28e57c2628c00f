"""tools/compare_time.py: who steps when, what is said of the times, and one real run."""
import subprocess

import pytest
from own_tool import TOOLS, call_tool, load_tool

compare_time = load_tool("compare_time")


class Noted:
    """A stepper that notes its turns; each takes as long as it is told."""

    def __init__(self, name, times, turns):
        self._name, self._times, self._turns = name, iter(times), turns

    def step(self, steps):
        self._turns.append((self._name, steps))
        return dict(cpu=next(self._times), wall=1.0)


def test_turns_alternate_and_the_first_ones_are_not_counted():
    turns = []
    steppers = [Noted("old", [9, 9, 1, 2, 4], turns), Noted("new", [9, 9, 2, 2, 2], turns)]
    rows = compare_time.compare(steppers, rounds=3, steps=5)
    assert turns == [(name, 5) for name in ["old", "new", "new", "old", "old", "new", "new", "old", "old", "new"]]
    assert [[times["cpu"] for times in row] for row in rows] == [[1, 2], [2, 2], [4, 2]]
    cpu, wall = compare_time.describe(rows)
    assert "2000.0 ms" in cpu and "ratio 1.000 (0.500 to 2.000), of the fastest turns 2.000" in cpu
    assert wall.strip().startswith("wall") and "ratio 1.000 (1.000 to 1.000)" in wall


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """Enter a repository whose working tree is this code."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in ("mimtransfer", "pretrain", "configs"):
        (tmp_path / name).symlink_to(TOOLS.parent / name)
    (tmp_path / "wrong.py").write_text("model = dict(type='MEA')\n")
    # In HEAD nothing is imported but this: a process of it costs no time until it is ended.
    (tmp_path / "torch.py").write_text("input()\n")
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "add", "wrong.py", "torch.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "Wait"], check=True)
    (tmp_path / "torch.py").unlink()
    monkeypatch.chdir(tmp_path)


def test_steps_of_a_working_tree(repo, capfd):
    config = "configs/pretrain/mae_amt_vit-tiny-p4_10e_cifar10.py"
    tiny = ["model.encoder.model_kwargs.depth=1", "model.decoder.depth=1"]
    assert call_tool("compare_time", ".", ".", config, "--batch-size", 2, "--rounds", 1, "--cfg-options", *tiny) == 0
    said = capfd.readouterr().out
    assert "2 images, . and ." in said and said.count("ratio") == 2


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((".", "HEAD", "wrong.py"), "wrong.py of . cannot step: KeyError: 'MEA is not"),
        ((".", "nowhere", "wrong.py"), "revision 'nowhere'"),
        ((".", ".", "wrong.py", "--rounds", "0"), "must be 1 or more"),
    ],
)
def test_mistakes_are_one_line(repo, capfd, args, line):
    assert call_tool("compare_time", *args) == 2
    said = capfd.readouterr().err
    assert line in said and said.count("\n") == 1 and "Traceback" not in said
