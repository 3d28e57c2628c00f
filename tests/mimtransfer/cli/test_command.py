"""The console command: every tool by its name, at once and without torch; completion."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mimtransfer.cli import command
from mimtransfer.cli.completion import parser_of, script
from mimtransfer.errors import UserError
from mimtransfer.results.provenance import command_line

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Call the command in this process, in a folder outside; return status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["mimtransfer", *words])
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # and its name afterwards
        monkeypatch.setattr(sys, "path", sys.path[:])
        status = 0
        try:
            command.main()
        except SystemExit as ended:
            status = ended.code or 0
        return (status, *capsys.readouterr())

    return called


def test_every_file_of_tools_is_a_command():
    assert set(command.tools().values()) == set((ROOT / "tools").glob("*.py"))
    assert list(command.tools())[:4] == ["pretrain", "train", "test", "predict"]


def test_help_names_every_command_in_a_line(call):
    status, out, _ = call("--help")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  "))
    assert status == 0 and set(rows) == {*command.tools(), "configs", "where", "launch", "completion"}
    assert rows["pretrain"] == "Pretrain an encoder by masked image modelling"
    assert call() == (0, out, "")


def test_help_imports_no_torch():
    code = ("import sys; from mimtransfer.cli.command import main; sys.argv = ['mimtransfer', {!r}]; main(); "
            "print([name for name in ('torch', 'numpy', 'mmengine') if name in sys.modules])")
    for word in ("--help", "configs"):
        found = subprocess.run([sys.executable, "-c", code.format(word)], capture_output=True, text=True, check=True)
        assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["train", "convert", "make-scenes", "make_scenes"])
def test_a_tool_runs_as_main_under_its_name(name, call):
    status, out, _ = call(name, "--help")
    shown = {"convert": "convert-checkpoint"}.get(name, name.replace("_", "-"))
    assert status == 0 and out.startswith(f"usage: mimtransfer {shown} ")


def test_a_tool_does_its_work_outside_the_checkout(call):
    status, out, error = call("make-scenes", "--train", "1", "--val", "1", "--unlabelled", "1", "--workers", "1")
    assert status == 0 and "1 train, 1 val, 1 unlabelled scenes" in out, error
    assert Path("data/scenes/meta.json").is_file()


def test_a_name_that_no_command_has(call):
    status, out, error = call("trian")
    assert (status, out) == (2, "")
    assert error.startswith("error: mimtransfer has no command 'trian'; did you mean 'train'")
    assert call("qqqq")[2] == "error: mimtransfer has no command 'qqqq'; mimtransfer --help lists them\n"


def test_the_record_names_the_command_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mimtransfer train", "a config.py", "--amp"])
    assert command_line() == "mimtransfer train 'a config.py' --amp"
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "c.py"])
    assert command_line().endswith(" tools/train.py c.py")


def test_an_error_names_tools_as_the_user_does(call, monkeypatch):
    status, _, error = call("test", "mask-rcnn_vit-demo_scenes")
    assert status == 2 and "give the checkpoint of mimtransfer train behind it" in error
    text = "fit it: python tools/fit_tokenizer.py CONFIG"
    assert command.as_typed(text) == "fit it: mimtransfer fit-tokenizer CONFIG"
    monkeypatch.setattr(sys, "argv", ["tools/test.py"])
    assert command.as_typed(text) == text


@pytest.mark.parametrize(("name", "place"), [
    ("", ""), ("train", "tools/train.py"), ("prepare-data", "tools/prepare_data.py"),
    ("slurm.sh", "tools/launch/slurm.sh"), ("docs/plan.md", "docs/plan.md"),
    ("docs", "docs"), ("docs/", "docs"), ("own-data.md", "docs/own-data.md"),
    ("docs/results/study.md", "docs/results/study.md"), ("results/study.md", "docs/results/study.md"),
    ("mae_vit-base_800e_in1k", "configs/pretrain/mae_vit-base_800e_in1k.py"), ("demo", "configs/suites/demo.py"),
])
def test_where(name, place, call):
    assert call("where", *filter(None, [name])) == (0, f"{ROOT / place}\n", "")


def test_where_is_a_typo(call):
    assert call("where", "mae_vit-bsae_800e_in1k")[::2] == (
        2, "error: config 'mae_vit-bsae_800e_in1k': no such file; did you mean 'mae_vit-base_800e_in1k', "
           "'mae_vit-small_800e_in1k', 'mae_vit-large_800e_in1k'?\n")
    status, _, error = call("where", "docs/own_data.md")
    assert status == 2
    assert error.startswith("error: 'docs/own_data.md': no such page; did you mean 'docs/own-data.md', ")


def test_where_is_a_page_that_the_wheel_has_not(call, monkeypatch, tmp_path):
    """A wheel has the pages of docs/ and no folder beside them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/plan.md").touch()
    monkeypatch.setattr(command, "shipped", tmp_path.joinpath)
    assert call("where", "plan.md") == (0, f"{tmp_path}/docs/plan.md\n", "")
    assert call("where", "docs") == (0, f"{tmp_path}/docs\n", "")
    for name in ("docs/results/study.md", "results/study.md"):
        assert call("where", name) == (
            2, "", "error: 'docs/results/study.md' is not in the package, which has no folder docs/results: look for "
                   f"it in the repository; the pages that are here lie in {tmp_path}/docs\n")


def test_every_page_that_messages_name_can_be_found(call):
    named = {page for folder in ("mimtransfer", "pretrain", "tools") for path in (ROOT / folder).rglob("*.py")
             for page in re.findall(r"docs/[a-z0-9-]+\.md", path.read_text())}
    assert len(named) > 10
    for page in named:
        assert call("where", page) == (0, f"{ROOT / page}\n", "")


def test_configs(call):
    status, out, _ = call("configs", "mask2former*")
    assert status == 0 and len([line for line in out.splitlines() if line.startswith("  mask2former_")]) == 2
    assert call("configs", "nothing-like-it")[0] == 2


def complete(words, shell_script):
    """Return what bash offers for the last of the words."""
    code = (f"{shell_script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=()\n"
            "_shtab_mimtransfer; printf '%s\\n' \"${COMPREPLY[@]}\"")
    found = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return found.stdout.split()


@pytest.fixture(scope="module")
def bash():
    return script("bash")


@pytest.mark.parametrize(("words", "offered"), [
    (["mimtransfer", "pre"], ["predict", "prepare-data", "pretrain"]),
    (["mimtransfer", "train", "--overf"], ["--overfit", "--overfit-iters"]),
    (["mimtransfer", "train", "mask2former_"], ["mask2former_vit-base_160k_ade20k-512x512",
                                               "mask2former_vitdet_vit-base_50e_coco"]),
    (["mimtransfer", "transfer", "de"], ["demo", "demo-quick"]),
    (["mimtransfer", "train", "--launcher", "p"], ["pytorch"]),
])
def test_bash_completes(words, offered, bash):
    assert sorted(set(complete(words, bash)) - {"dev"}) == offered


def test_zsh_knows_the_same(bash):
    text = script("zsh")
    assert text.startswith("#compdef mimtransfer") and "mask2former_vitdet_vit-base_50e_coco" in text


def test_every_tool_has_a_parser_that_completion_finds():
    before = sys.path[:]
    for name, path in command.tools().items():
        assert any("--help" in action.option_strings for action in parser_of(name, path)._actions)
    assert sys.path == before


def test_another_shell_and_no_shtab(monkeypatch):
    with pytest.raises(UserError, match="got 'fish', expected one of bash, zsh"):
        script("fish")
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(UserError, match=r"pip install 'mimtransfer\[completion\]'"):
        script("bash")
