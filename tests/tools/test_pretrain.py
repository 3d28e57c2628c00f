"""tools/pretrain.py from end to end: resume after SIGKILL, two processes, start-up, mistakes."""
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_tool import run_tool, torchrun_tool
from PIL import Image

from mimtransfer.checkpoints.safe_load import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "pretrain.py"
DEBUG = ROOT / "configs" / "debug" / "mae_vit-debug_2e_folder.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    state = np.random.RandomState(0)
    for i in range(32):
        pixels = np.kron(state.randint(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def write_config(path: Path, images: Path, body: str = "", hooks: str = "") -> Path:
    """Write a config on top of the debug one: a probe, drop path (so that torch's own generator matters), 3 epochs of
    4 iterations.
    """
    path.write_text(f"""
_base_ = [{str(DEBUG)!r}]
custom_imports = dict(imports=['probe_hook'])
custom_hooks = [
    dict(type='SeedHook'), dict(type='RecordHook'), dict(type='ReconstructionHook', interval=2), dict(type='ProbeHook'),
    {hooks}
]
train_dataloader = dict(dataset=dict(root={str(images)!r}))
train_cfg = dict(max_epochs=3)
{body.replace("IMAGES", repr(str(images)))}
""")
    return path


def run(*args) -> subprocess.CompletedProcess:
    """Run the tool as a user does, from its start; where the start is not the point, `run_tool` is quicker."""
    env = dict(os.environ, PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'helpers'}", OMP_NUM_THREADS="1")
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def probe(work_dir: Path, rank: int = 0) -> dict:
    return json.loads((work_dir / f"probe_{rank}.json").read_text())


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(str(work_dir / "epoch_3.pth"))["state_dict"]


DROP_PATH = "model = dict(encoder=dict(drop_path_rate=0.3))"


@pytest.fixture(scope="module")
def whole_run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = run(write_config(folder / "config.py", images, DROP_PATH), "--work-dir", folder / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "run"


def test_run_writes_record_pictures_and_logs(whole_run):
    record = json.loads((whole_run / "result.json").read_text())
    assert record["kind"] == "pretrain" and record["label"] == "MAE"
    assert record["seed"] == 0 and record["cost"]["images_per_s"] > 0
    pictures = list(whole_run.glob("*/vis_data/vis_image/reconstruction_*.png"))
    assert {p.stem for p in pictures} == {"reconstruction_2", "reconstruction_3"}
    assert Image.open(pictures[0]).size == (3 * 34, 4 * 34)
    assert list(whole_run.glob("*/vis_data/events.out.tfevents.*"))
    lines = [json.loads(line) for line in next(whole_run.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))


def test_pretraining_imports_no_detection_or_segmentation_library(whole_run):
    assert probe(whole_run)["heavy"] == []


def test_sigkill_and_resume_give_the_same_losses_and_weights(whole_run, images, tmp_path):
    config = write_config(tmp_path / "config.py", images, DROP_PATH)
    killer = write_config(tmp_path / "killer.py", images, DROP_PATH, hooks="dict(type='KillHook', at=7)")
    log = tmp_path / "log"
    assert run_tool(log, killer, "--work-dir", tmp_path / "run") == [-9], log.read_text()[-2000:]  # in epoch 2
    assert not (tmp_path / "run" / "result.json").exists()
    assert run_tool(log, config, "--work-dir", tmp_path / "run", "--resume") == [0], log.read_text()[-2000:]
    expected, resumed = probe(whole_run)["losses"], probe(tmp_path / "run")["losses"]
    assert list(resumed) == [str(i) for i in range(5, 13)]
    assert all(resumed[i] == expected[i] for i in resumed)
    ours, theirs = weights(tmp_path / "run"), weights(whole_run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_eager_process_goes_on_from_a_compiled_one(whole_run, images, tmp_path):
    """The other way about: tests/tools/test_classification.py."""
    log, work_dir = tmp_path / "log", tmp_path / "run"
    killer = write_config(tmp_path / "killer.py", images, DROP_PATH, hooks="dict(type='KillHook', at=6)")
    compiled = ("--cfg-options", "model.compile_loss=aot_eager")
    assert run_tool(log, killer, "--work-dir", work_dir, *compiled) == [-9], log.read_text()[-2000:]
    config = write_config(tmp_path / "config.py", images, DROP_PATH)
    assert run_tool(log, config, "--work-dir", work_dir, "--resume") == [0], log.read_text()[-2000:]
    losses = probe(work_dir)["losses"]
    assert list(losses) == [str(i) for i in range(5, 13)]
    assert all(losses[i] == pytest.approx(probe(whole_run)["losses"][i], rel=1e-5) for i in losses)
    ours, theirs = weights(work_dir), weights(whole_run)
    assert list(ours) == list(theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_two_processes_agree_and_equal_one_process(images, tmp_path):
    log = tmp_path / "log"
    one = run_tool(log, write_config(tmp_path / "one.py", images), "--work-dir", tmp_path / "one")
    assert one == [0], log.read_text()[-2000:]
    body = "train_dataloader = dict(batch_size=4, dataset=dict(root=IMAGES))"
    config = write_config(tmp_path / "two.py", images, body)
    options = ["--work-dir", tmp_path / "two", "--launcher", "pytorch"]
    assert torchrun_tool(log, config, *options, processes=2, port=29533) == 0, log.read_text()[-2000:]
    single, first, second = probe(tmp_path / "one"), probe(tmp_path / "two"), probe(tmp_path / "two", rank=1)
    assert first["sums"] == second["sums"]
    for i, loss in single["losses"].items():
        assert (first["losses"][i] + second["losses"][i]) / 2 == pytest.approx(loss, rel=1e-5)
    for name, value in single["sums"].items():
        assert first["sums"][name] == pytest.approx(value, abs=2e-3)
    record = json.loads((tmp_path / "two" / "result.json").read_text())
    assert record["cost"]["processes"] == 2
    assert record["precision"]["ddp"] == dict(gradient_as_bucket_view=True, static_graph=False,
                                              find_unused_parameters=False)
    assert "fused optimizer, DDP with gradient_as_bucket_view" in log.read_text()


def fails(monkeypatch, capsys, *args) -> str:
    """Run the tool in this process; return the one line that it prints."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, args)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    "body, message",
    [
        ("train_dataloader = dict(dataset=dict(root='nowhere'))", "nowhere"),
        ("train_dataloader = dict(dataset=dict(root='{empty}'))", "{empty}"),
        (
            "train_dataloader = dict(dataset=dict(root=IMAGES, transform=dict(size=36)))",
            "images of 36 x 36 pixels and patches of 8 x 8",
        ),
        ("model = dict(strategy=dict(type='RandomMaskin'))", "did you mean 'RandomMasking'"),
        ("model = dict(encoder=dict(type='TimViT'))", "did you mean 'TimmViT'"),
        ("model = dict(encoder=dict(arch='vit_tinny_patch16_224'))", "vit_tiny_patch16_224"),
        ("train_dataloader = dict(batch_size=64, dataset=dict(root=IMAGES))", "of 64: give --batch 32, or fewer,"),
    ],
)
def test_mistakes_give_one_line(body, message, images, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    body, message = (text.replace("{empty}", str(tmp_path / "empty")) for text in (body, message))
    config = write_config(tmp_path / "config.py", images, body)
    assert message in fails(monkeypatch, capsys, config, "--work-dir", tmp_path / "run")


def test_missing_config_names_a_near_one(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    message = fails(monkeypatch, capsys, "configs/debug/mae_vit-debug_2e_foldr.py", "--work-dir", tmp_path)
    assert "did you mean" in message


def test_compile_without_a_compiler_gives_one_line(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "none-such")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = write_config(tmp_path / "config.py", images)
    message = fails(monkeypatch, capsys, config, "--compile", "--work-dir", tmp_path / "run")
    assert "there is no 'none-such'" in message and not (tmp_path / "run").exists()


def test_unreadable_images_are_replaced_up_to_a_limit(images, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for i, file in enumerate(sorted(images.iterdir())):
        content = file.read_bytes()
        (broken / file.name).write_bytes(content[:40] if i in (3, 17) else content)
    config = write_config(tmp_path / "config.py", broken)
    options = ["train_cfg.max_epochs=1", "train_dataloader.dataset.max_corrupt=2"]
    log, second = tmp_path / "log", tmp_path / "log2"
    assert run_tool(log, config, "--work-dir", tmp_path / "run", "--cfg-options", *options) == [0]
    assert log.read_text().count("03.png cannot be read") == 1
    options[1] = "train_dataloader.dataset.max_corrupt=1"
    assert run_tool(second, config, "--work-dir", tmp_path / "run2", "--cfg-options", *options) == [2]
    assert [line for line in second.read_text().splitlines() if line.startswith("error:") and "max_corrupt=1" in line]


def test_help_needs_no_heavy_import():
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        "try: runpy.run_path(sys.orig_argv[-1], run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    for tool in sorted((ROOT / "tools").glob("*.py")):
        done = subprocess.run([sys.executable, "-c", code, str(tool)], capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "False" and "usage:" in done.stdout
