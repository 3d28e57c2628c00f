"""docs/api.md and docs/quickstart.ipynb, run; and what the Python API answers to mistakes."""
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from exported import checkpoint
from mmengine.registry import DefaultScope
from nbclient import NotebookClient
from own_sets import yolo
from served_tools import served_tools

import mimtransfer
from mimtransfer.api import runs
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.errors import UserError
from mimtransfer.results.record import write_record

ROOT = Path(__file__).resolve().parents[2]
DEMO = "configs/pretrain/mae_vit-demo_scenes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with 16 unlabelled scenes, 8 to train on and 4 to score on, and the configs."""
    out = tmp_path_factory.mktemp("api")
    make_scenes(out / "data/scenes", SceneSet(counts={"train": 8, "val": 4, "unlabelled": 16}), 1, progress=False)
    yolo(out / "data/my_set")
    (out / "configs").symlink_to(ROOT / "configs")
    return out


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Return a folder with `tools/`, processes of a second each, not ten."""
    out = tmp_path_factory.mktemp("tools")
    with served_tools(out, "pretrain", "train"):
        yield out


@pytest.fixture(scope="module")
def told(folder, tools):
    """The variables that the block in docs/api.md leaves behind."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL).group(1)
    variables, before = {}, os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "shipped", tools.joinpath)
        os.chdir(folder)
        try:
            exec(compile(block, "docs/api.md", "exec"), variables)
        finally:
            os.chdir(before)
    return variables


def test_the_page_runs(told, folder):
    assert told["mae"].checkpoint == Path("work_dirs/mae/epoch_1.pth") and told["mae"].record["kind"] == "pretrain"
    assert told["features"].shape == (1, 128, 16, 16)
    assert told["scored"]["label"] == "MAE" and told["scored"]["init"]["pretraining"]["run_id"] == (
        told["mae"].record["run_id"])
    assert told["own"]["protocol"]["name"] == "Mask R-CNN, scenes, on my_set, boxes only"
    weights = read_checkpoint(str(folder / told["mae"].checkpoint))["state_dict"]
    qkv = told["backbone"].blocks[0].attn.qkv.weight
    assert torch.equal(qkv, weights["encoder.blocks.0.attn.qkv.weight"]) and not told["backbone"].training
    assert told["backbone"].load_report.missing == []


def test_the_table_is_text_or_a_frame(told, folder):
    text = mimtransfer.table([folder / "work_dirs/mae", told["scored"]])
    frame = mimtransfer.table((told["mae"].record, told["scored"]), "frame")
    assert isinstance(frame, pd.DataFrame) and list(frame.index) == ["MAE"]
    miou = told["scored"]["metrics"]["miou"]["value"]
    assert frame.loc["MAE", "mIoU"] == miou and f" {miou:.1f} " in text
    assert mimtransfer.table(told["scored"], "csv").splitlines()[0].startswith("pretraining,mIoU,")
    with pytest.raises(UserError, match="format 'xls': expected one of md, csv, latex, paper, json, frame"):
        mimtransfer.table(told["scored"], "xls")
    with pytest.raises(UserError, match="record 0: field 'metrics' is missing"):
        mimtransfer.table({key: value for key, value in told["scored"].items() if key != "metrics"})


def test_a_checkpoint_that_says_no_architecture(told, folder, tmp_path):
    state = {name.removeprefix("encoder."): value for name, value in
             read_checkpoint(str(folder / told["mae"].checkpoint))["state_dict"].items() if name.startswith("encoder.")}
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"does not say its architecture: give it, e\.g\. arch='vit_base_patch16_224'"):
        mimtransfer.load_backbone(tmp_path / "other.pth")
    own = {key: value for key, value in told["mae"].record["protocol"]["config"].items() if "encoder" in key}
    kwargs = dict(embed_dim=own["model.encoder.model_kwargs.embed_dim"], depth=own["model.encoder.model_kwargs.depth"],
                  num_heads=own["model.encoder.model_kwargs.num_heads"])
    loaded = mimtransfer.load_backbone(tmp_path / "other.pth", own["model.encoder.arch"], 64, patch_size=8,
                                       model_kwargs=kwargs, pos_embed="sincos", out_indices=(0, -1))
    assert len(loaded(torch.zeros(1, 3, 64, 64))) == 2
    with pytest.raises(UserError, match="this folder holds no whole checkpoint"):
        mimtransfer.load_backbone(tmp_path)
    with DefaultScope.overwrite_default_scope("mmdet"):  # as it is after a detector was built in this process
        mimtransfer.load_backbone(folder / told["mae"].checkpoint)
        mimtransfer.load_backbone(tmp_path / "other.pth", own["model.encoder.arch"], 64, patch_size=8,
                                  model_kwargs=kwargs, pos_embed="sincos")


def test_positions_for_larger_images_than_the_file_has(tmp_path):
    path, vit = checkpoint(tmp_path, signed=None)
    larger = mimtransfer.load_backbone(path, img_size=1024)
    assert larger.grid_size == (128, 128) and larger.pos_embed.numel() > Path(path).stat().st_size
    assert torch.equal(larger.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


def test_a_checkpoint_that_is_not_there_is_told_as_by_the_command(tmp_path):
    checkpoint(tmp_path, signed=None)
    (name,) = (path.name for path in tmp_path.iterdir())
    for arch in (None, "vit_tiny_patch16_224"):
        with pytest.raises(UserError, match=rf"checkpoint '.*no{name}': no such file; did you mean '{name}'"):
            mimtransfer.load_backbone(tmp_path / f"no{name}", arch)


def test_importing_the_package_imports_none_of_it():
    code = ("import sys, mimtransfer; assert not {'torch', 'pandas', 'mimtransfer.api'} & set(sys.modules);"
            "assert {'load_backbone', 'pretrain', 'transfer', 'table'} <= set(dir(mimtransfer));"
            "import pretrain; assert mimtransfer.pretrain is not pretrain and callable(mimtransfer.pretrain)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="module 'mimtransfer' has no attribute 'tabel'"):
        _ = mimtransfer.tabel


def test_mistakes_are_told_before_a_process_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "run_tool", None)
    with pytest.raises(UserError, match=r"mae_vit-demo_scene\.py' does not exist; did you mean 'mae_vit-demo_s"):
        mimtransfer.transfer(ROOT / "configs/pretrain/mae_vit-demo_scene.py")
    with pytest.raises(UserError, match="no such file; it is the beginning of 'mask-rcnn_vit-demo_scenes'"):
        mimtransfer.transfer("mask-rcnn_vit-demo_scene")
    with pytest.raises(UserError, match="is a suite, which says its checkpoint itself"):
        mimtransfer.transfer(ROOT / "configs/suites/demo.py", "mae.pth")
    (tmp_path / "broken.py").write_text("model = dict(")
    with pytest.raises(UserError, match=r"broken\.py' cannot be read"):
        mimtransfer.transfer(tmp_path / "broken.py")


def test_which_tool_runs_and_with_which_words(tmp_path, monkeypatch, told):
    """Every option reaches the command; a config of k-NN is tested; a suite gives all its records."""
    called, record = [], told["scored"]
    monkeypatch.setattr(runs, "run_tool", lambda *words: called.append(words))
    monkeypatch.setattr(runs, "read_record", lambda path: record)
    mimtransfer.pretrain("a.py", "out", options={"a.b": [1, 2], "c": "x y"}, seed=3, resume=True, amp=True,
                         compile=True, log=["wandb"], show=False)
    assert called.pop() == ("pretrain", ["a.py", "--work-dir", "out", "--seed", "3", "--amp", "--compile", "--log",
                                         "wandb", "--cfg-options", "a.b=[1,2]", "c='x y'", "--resume"], False)
    knn = str(ROOT / "configs/classification/knn_vit-tiny-p4_cifar10.py")
    mimtransfer.transfer(knn, "mae.pth", log="mlflow", resume=True)
    assert called.pop() == ("test", [knn, "--work-dir", "work_dirs/knn_vit-tiny-p4_cifar10", "--log", "mlflow",
                                     "--pretrained", "mae.pth"], True)
    config = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
    (tmp_path / "my_set").mkdir()
    (yaml := tmp_path / "my_set/data.yaml").touch()
    mimtransfer.transfer(config, data=yaml, quick=True, image_size=64, batch=2, epochs=3)
    own = ["--data", str(yaml), "--quick", "--image-size", "64", "--batch", "2", "--epochs", "3"]
    folder = "work_dirs/mask-rcnn_vit-demo_scenes_my_set_quick"  # as the tool names it
    assert called.pop() == ("train", [config, "--work-dir", folder, *own], True)
    mimtransfer.pretrain("a.py", "out", data=Path("images"), epochs=1)
    assert called.pop() == ("pretrain", ["a.py", "--work-dir", "out", "--data", "images", "--epochs", "1"], True)
    mimtransfer.transfer(knn, data="birds")
    assert called.pop()[1][1:] == ["--work-dir", "work_dirs/knn_vit-tiny-p4_cifar10_birds", "--data", "birds"]
    with pytest.raises(UserError, match="trains nothing: leave quick, image_size, batch and epochs out"):
        mimtransfer.transfer(knn, batch=2)
    suite = str(ROOT / "configs/suites/demo.py")
    with pytest.raises(UserError, match="is a suite, which says its data itself"):
        mimtransfer.transfer(suite, data="birds")
    for folder, made in (("mae-seed1", told["mae"].record), ("seg_mae-seed1", record)):
        write_record(made, tmp_path / folder)
    assert mimtransfer.transfer(suite, work_dir=tmp_path, seed=1) == [told["mae"].record, record]
    assert called.pop() == ("transfer", [suite, "--seeds", "1", "--work-dir", str(tmp_path)], True)


def test_the_record_is_that_of_this_run(tmp_path, monkeypatch, told):
    """In a work dir with the record of another protocol a test leaves its own beside its log."""
    knn, old = str(ROOT / "configs/classification/knn_vit-tiny-p4_cifar10.py"), told["scored"]
    new = {**old, "run_id": "20261130-000000-00000000"}
    write_record(old, tmp_path)
    monkeypatch.setattr(runs, "run_tool", lambda *_: write_record(new, tmp_path / "log"))
    assert mimtransfer.transfer(knn, work_dir=tmp_path, data="birds") == new
    monkeypatch.setattr(runs, "run_tool", lambda *_: None)  # resumed, with nothing left to train
    assert mimtransfer.transfer(knn, work_dir=tmp_path) == old


def test_the_work_dir_is_that_of_the_config_where_it_has_one(tmp_path, monkeypatch, told):
    called = []
    monkeypatch.setattr(runs, "run_tool", lambda *words: called.append(words))
    monkeypatch.setattr(runs, "read_record", lambda path: told["scored"])
    config = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
    (tmp_path / "mine.py").write_text(f"_base_ = [{config!r}]\nwork_dir = {str(tmp_path / 'mine')!r}\n")
    mimtransfer.transfer(tmp_path / "mine.py")
    assert called.pop() == ("train", [str(tmp_path / "mine.py"), "--work-dir", str(tmp_path / "mine")], True)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A tool of three lines instead of ours."""
    monkeypatch.setattr(runs, "shipped", lambda name: tmp_path)

    def write(code):
        (tmp_path / "own.py").write_text(code)

    return write


def test_what_is_shown_and_what_is_raised(tool, capfd):
    tool("print('noise'); print('11/30 09:51:48 - mmengine - \\x1b[4mINFO\\x1b[0m - Done: epoch 1 of 2: loss 1');"
         "print('| score      loss 1.2'); print('| cross | 5.0 |'); print('10:20:30 [mae] Epoch(val) x')")
    runs.run_tool("own", [])
    assert capfd.readouterr().out.splitlines() == [
        "Done: epoch 1 of 2: loss 1", "| score      loss 1.2", "10:20:30 [mae] Epoch(val) x"]
    runs.run_tool("own", [], show=False)
    assert capfd.readouterr().out == ""
    tool("import sys; print('error: no such config', file=sys.stderr); sys.exit(2)")
    with pytest.raises(UserError, match=r"^no such config$"):
        runs.run_tool("own", [])
    tool("print('before'); 1 / 0")
    with pytest.raises(RuntimeError, match=r"(?s)own\.py ended with status 1; .*before.*ZeroDivisionError"):
        runs.run_tool("own", [])


def test_an_interrupt_ends_the_run(tool, tmp_path):
    tool("import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)")

    def interrupt():
        while not (file := tmp_path / "pid").exists() or not file.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            runs.run_tool("own", [str(tmp_path / "pid")])
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_notebook_runs(tmp_path, tools):
    notebook = nbformat.read(ROOT / "docs/quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # outputs would go stale
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    first = f"import pathlib; from mimtransfer.api import runs; runs.shipped = pathlib.Path({str(tools)!r}).joinpath"
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}},
                   extra_arguments=[f"--IPKernelApp.exec_lines={first}"]).execute()
    text = "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "Done: epoch 2 of 2" in text and "| MAE" in text and "matched" in text
