"""The wheel, installed into a fresh environment: from no data at all to a table, in a folder outside the checkout."""
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ["mimtransfer", "pretrain", "configs", "tools", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
ENV = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
ENV |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": ""}
SHORT = ["train_dataloader.batch_size=2", "train_dataloader.num_workers=0",
         "train_dataloader.persistent_workers=False"]
EVALUATED = ["val_dataloader.batch_size=4", "val_dataloader.num_workers=0",
             "val_dataloader.persistent_workers=False"]


def run(*words, cwd, **env):
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**ENV, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, so that no `build/` stays in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    backend = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    run(sys.executable, "-c", backend, out, cwd=source)  # what `pip wheel .` calls
    return next(out.glob("*.whl"))


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
    return lambda *words, **env: run(work.parent / "env/bin/mimtransfer", *words, cwd=work, **env)


@pytest.fixture(scope="module")
def trained(call, work):
    """Scenes, a pretraining from a short name, a detector from a config of one's own: two steps each."""
    call("make-scenes", "--train", 4, "--val", 2, "--unlabelled", 4, "--workers", 1)
    call("pretrain", "mae_vit-demo_scenes", "--cfg-options", *SHORT, "train_cfg.max_epochs=1")
    (work / "mine.py").write_text("_base_ = 'mimtransfer::detection/mask-rcnn_vit-demo_scenes.py'\n"
                                  "protocol = 'mine'\n")
    call("train", "mine.py", "--pretrained", "work_dirs/mae_vit-demo_scenes", "--seed", 0, "--cfg-options", *SHORT,
         *EVALUATED, "train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2")
    return work / "work_dirs"


def test_the_wheel_holds_all_configs_and_tools(wheel):
    names = zipfile.ZipFile(wheel).namelist()
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
    assert str(ROOT) not in call("where")
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
