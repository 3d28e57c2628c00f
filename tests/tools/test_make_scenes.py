"""The command line of tools/make_scenes.py."""
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "make_scenes.py"


def run(monkeypatch, *args) -> None:
    """Run the tool in this process."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, args)])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_from_the_command_line_to_the_folder_and_again(tmp_path, monkeypatch, capsys):
    args = ["--size", "40", "56", "--train", "70", "--val", "3", "--unlabelled", "2", "--classes", "shapes"]
    args = ["--out", str(tmp_path / "deep" / "scenes"), *args, "--style", "shear=0", "--workers", "2"]
    done = subprocess.run([sys.executable, str(TOOL), *args], check=True, text=True, capture_output=True, cwd=ROOT)
    assert "70 train, 3 val, 2 unlabelled scenes of 40x56 pixels" in done.stdout
    assert "75/75" in done.stderr  # progress
    out = tmp_path / "deep" / "scenes"
    assert {path.name for path in out.iterdir()} == {
        "train", "val", "unlabelled", "seg", "annotations", "meta.json", "request.json",
    }  # fmt: skip
    assert [len(list((out / folder).iterdir())) for folder in ("train", "seg/train", "seg/val", "unlabelled")] == [
        70, 70, 3, 2,
    ]  # fmt: skip
    meta = json.loads((out / "meta.json").read_text())
    assert meta["size"] == [40, 56] and meta["style"]["shear"] == 0
    assert meta["things"] == ["disc", "square", "triangle", "star", "ring", "cross"]
    assert meta["classes"][6:] == ["bricks", "clouds", "grass", "pebbles", "planks"]
    (out / "val" / "000001.jpg").unlink()
    run(monkeypatch, *args)
    assert (out / "val" / "000001.jpg").exists() and json.loads((out / "meta.json").read_text()) == meta


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--size", "8"], ["scene size: got (8, 8)", "32 to 4096"]),
        (["--size", "96", "96", "3"], ["scene size: got (96, 96, 3)", "height and width"]),
        (["--train", "-1"], ["scene counts", "expected 0 to 1000000"]),
        (["--seed", "-2"], ["scene seed: got -2"]),
        (["--workers", "0"], ["--workers: got 0"]),
        (["--classes", "two", "tree"], ["unknown thing class 'tree'", "'three'"]),
        (["--style", "nose=0,1"], ["unknown field 'nose'", "'noise'"]),
        (["--style", "noise=loud"], ["--style noise=loud", "NAME=LOW,HIGH"]),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, args, words):
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, "--out", tmp_path / "scenes", *args)
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "scenes").exists()


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SystemExit) as exit_info:
            run(monkeypatch, "--out", out, "--size", "32")
        lines = capsys.readouterr().err.splitlines()
        assert exit_info.value.code == 2 and len(lines) == 1
        assert lines[0].startswith(f"error: cannot write scenes to '{out}'") and "choose another --out" in lines[0]


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", str(TOOL), "--help"]
    told = subprocess.run(command, check=True, text=True, capture_output=True)
    loaded = {line.rsplit("|", 1)[1].strip() for line in told.stderr.splitlines() if "|" in line}
    assert "usage:" in told.stdout and not loaded & {"numpy", "PIL", "sklearn", "torch", "mmengine"}
