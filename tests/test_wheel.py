"""The wheel, installed into a fresh environment: from no data at all to a table, in a folder outside the checkout."""
import json
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from wheel_smoke import build_wheel, run, train_from_nothing

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def work(wheel, tmp_path_factory):
    """A folder with the command of the installed wheel; all other packages are those of this interpreter."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=True, symlinks=True)
    python = folder / "env/bin/python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=folder).strip()
    places = [path for path in sys.path if path and (Path(path, "torch").is_dir() or Path(path, "mmengine").is_dir())]
    Path(site, "others.pth").write_text("".join(f"{path}\n" for path in places))
    (folder / "work").mkdir()
    return folder / "work"


@pytest.fixture(scope="module")
def call(work):
    return lambda *words: run(work.parent / "env/bin/mimtransfer", *words, cwd=work)


@pytest.fixture(scope="module")
def trained(call, work):
    train_from_nothing(call, work)
    return work / "work_dirs"


def test_the_wheel_holds_all_configs_tools_and_pages(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    pages = {name.rpartition("/")[2] for name in names if "/.mim/docs/" in name}
    assert pages == {path.name for path in (ROOT / "docs").glob("*.md")}  # which messages name
    assert {"mimtransfer/py.typed", "pretrain/py.typed"} <= set(names)  # without them a type checker reads no types
    for folder in ("configs", "tools"):
        held = {name.partition("/.mim/")[2] for name in names if f"/.mim/{folder}/" in name}
        assert held == {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*")
                        if path.is_file() and "__pycache__" not in path.parts}
    code = {name for name in names if name.startswith(("mimtransfer/", "pretrain/")) and "/.mim/" not in name}
    assert code >= {path.relative_to(ROOT).as_posix() for package in ("mimtransfer", "pretrain")
                    for path in (ROOT / package).rglob("*.py") if ".mim" not in path.parts}


def test_it_is_the_installed_code_that_runs(call, work):
    assert Path(call("where").strip()) == Path(run(
        work.parent / "env/bin/python", "-c",
        "import mimtransfer, pathlib; print(pathlib.Path(mimtransfer.__file__).parent / '.mim')", cwd=work).strip())
    assert str(ROOT) not in call("where") and Path(call("where", "docs/own-data.md").strip()).is_file()
    assert "mae_vit-base_800e_in1k" in call("configs", "mae_vit-base_800e*")


def test_from_pretraining_to_the_table(trained, call):
    found = json.loads((trained / "mine/result.json").read_text())
    assert found["protocol"]["name"] == "mine" and found["init"]["path"].endswith("epoch_1.pth")
    assert found["command"].startswith("mimtransfer train mine.py --pretrained work_dirs/mae_vit-demo_scenes")
    assert found["schedule"]["iters"] == 2
    table = call("table", "work_dirs")
    assert "box AP" in table and "| MAE" in table


def test_a_suite_finds_its_tools_and_configs(trained, call, work):
    """The plan reads every config; the commands name the tool that is installed; a job runs by it."""
    listed = call("transfer", "demo", "--commands").splitlines()
    mae = next(line for line in listed if line.endswith("--run-job mae-seed0"))
    assert mae.startswith("python ") and ".mim/tools/transfer.py" in mae and str(ROOT) not in mae
    (work / "suite.py").write_text(
        "data = dict(scenes=dict(command='python tools/make_scenes.py --out made --train 1 --val 1 --unlabelled 1 "
        "--workers 1', makes='made/meta.json'))\n")
    assert "[scenes] done" in call("transfer", "suite.py", "--jobs", 1)
    assert (work / "made/meta.json").is_file()
