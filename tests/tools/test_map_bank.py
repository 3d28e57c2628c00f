"""MapBankHook in whole runs of tools/pretrain.py: kill and resume across a bank, two processes, mistakes."""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mimtransfer.backbones.inspect import view_block
from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.registry import MODELS
from mimtransfer.results.fingerprint import protocol_config
from pretrain.masking.bank import MapBank

ROOT = Path(__file__).resolve().parents[2]
DEBUG = ROOT / "configs" / "debug" / "mae_vit-debug_2e_folder.py"
sys.path.append(str(ROOT / "tests" / "helpers"))
from forked_tool import run_tool  # noqa: E402

BROKEN = 5  # number of the image that cannot be read
READABLE = [i for i in range(33) if i != BROKEN]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    state = np.random.RandomState(0)
    for i in range(33):
        pixels = np.kron(state.randint(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    broken = folder / f"{BROKEN:02d}.png"
    broken.write_bytes(broken.read_bytes()[:40])
    return folder


def write_config(path: Path, images: Path, body: str = "", hooks: str = "") -> Path:
    """Write a config on top of the debug one: 4 epochs of 4 iterations; epoch 0 without maps, then a bank for each two
    epochs.
    """
    path.write_text(f"""
_base_ = [{str(DEBUG)!r}]
custom_imports = dict(imports=['probe_hook', 'measured_toy'])
bank = dict(type='MapBankHook', begin=1, interval=2, amp=False)
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'), dict(type='ProbeHook'), bank, {hooks}]
model = dict(
    encoder=dict(drop_path_rate=0.3),
    strategy=dict(type='KeyNormMasking', mask_ratio=0.45, throw_ratio=0.4,
                  warmup=dict(type='RandomMasking', mask_ratio=0.75)),
)
train_dataloader = dict(persistent_workers=True, num_workers=2, dataset=dict(root={str(images)!r}))
train_cfg = dict(max_epochs=4)
{body}
""")
    return path


def losses(work_dir: Path) -> dict[str, float]:
    return json.loads((work_dir / "probe_0.json").read_text())["losses"]


def banks(work_dir: Path) -> list[str]:
    return sorted(path.name for path in (work_dir / "map_bank").iterdir())


def about(work_dir: Path, epoch: int) -> dict:
    return json.loads((work_dir / "map_bank" / f"epoch_{epoch}.json").read_text())


def maps(work_dir: Path, epoch: int) -> torch.Tensor:
    return MapBank.open(work_dir / "map_bank" / f"epoch_{epoch}.npy").read(torch.arange(33))


@pytest.fixture(scope="module")
def whole_run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    keep = "default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))"
    config, log = write_config(folder / "config.py", images, keep), folder / "log"
    assert run_tool(log, config, "--work-dir", folder / "run") == [0], log.read_text()[-2000:]
    return folder / "run"


def key_norms(whole_run: Path, images: Path, side: int) -> torch.Tensor:
    """Return what KeyNormMasking measures of the readable images, squashed to `side`, after the first epoch."""
    cfg = Config.fromfile(DEBUG)
    encoder = MODELS.build(cfg.model.encoder).eval()
    state = read_checkpoint(str(whole_run / "epoch_1.pth"))["state_dict"]
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")})
    mean, std = (torch.tensor(cfg.model.data_preprocessor[key])[:, None, None] for key in ("mean", "std"))
    pictures = [Image.open(images / f"{i:02d}.png").resize((side, side), Image.Resampling.BICUBIC) for i in READABLE]
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    with torch.no_grad():
        return view_block(encoder, (pixels - mean) / std).keys.norm(dim=-1).view(-1, side // 8, side // 8)


def test_bank_holds_the_measures_of_whole_images(whole_run, images):
    found = maps(whole_run, 1)
    expected = key_norms(whole_run, images, 32)
    torch.testing.assert_close(found[READABLE], expected, rtol=1e-3, atol=1e-4)  # half precision: 2^-11
    assert torch.equal(found[BROKEN], torch.zeros(4, 4))


def test_maps_are_measured_at_a_size_of_their_own(whole_run, images, tmp_path):
    small = "custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'), dict(bank, measure_size=16)]"
    config = write_config(tmp_path / "config.py", images, f"train_cfg = dict(max_epochs=2)\n{small}")
    work_dir, log = tmp_path / "run", tmp_path / "log"
    assert run_tool(log, config, "--work-dir", work_dir, "--resume", whole_run / "epoch_1.pth") == [0], log.read_text()
    assert about(work_dir, 1)["grid"] == [2, 2] and about(work_dir, 1)["id"] != about(whole_run, 1)["id"]
    expected = key_norms(whole_run, images, 16)  # the encoder resamples its positions
    torch.testing.assert_close(maps(work_dir, 1)[READABLE], expected, rtol=1e-3, atol=1e-4)


def test_run_names_its_banks_and_logs_their_time(whole_run):
    assert banks(whole_run) == ["epoch_1.json", "epoch_1.npy", "epoch_3.json", "epoch_3.npy"]
    first, second = about(whole_run, 1), about(whole_run, 3)
    assert (first["epoch"], first["num_images"], first["grid"]) == (1, 33, [4, 4])
    assert first["strategy"] == "KeyNormMasking" and first["seconds"] > 0 and first["id"] != second["id"]
    named = [read_checkpoint(str(whole_run / f"epoch_{i}.pth"))["meta"].get("map_bank") for i in (1, 2, 3, 4)]
    keys = [dict(epoch=part["epoch"], id=part["id"]) for part in (first, second)]
    assert named == [None, keys[0], keys[0], keys[1]]
    log = (whole_run.parent / "log").read_text()
    assert "map bank after 1 epochs: 33 images in " in log
    spent = json.loads((whole_run / "result.json").read_text())["cost"]["measuring"]
    assert spent["passes"] == 2 and spent["seconds"] == pytest.approx(first["seconds"] + second["seconds"], abs=2e-3)
    wall = json.loads((whole_run / "result.json").read_text())["cost"]["wall_s"]
    assert spent["share"] == pytest.approx(spent["seconds"] / wall, abs=1e-3)
    assert f"measuring has taken {first['seconds']:.1f} s so far, " in log
    assert f"measuring has taken {spent['seconds']:.1f} s so far, " in log


def test_sigkill_and_resume_across_a_bank_give_the_same_run(whole_run, images, tmp_path):
    work_dir, log = tmp_path / "run", tmp_path / "log"
    # In epoch 1, right after its bank was measured; in epoch 2, which has its bank from epoch 1; not any more.
    for kill_at, status in ((6, -9), (11, -9), (None, 0)):
        hook = f"dict(type='KillHook', at={kill_at})" if kill_at else ""
        config = write_config(tmp_path / "config.py", images, hooks=hook)
        # The same epochs, as shares of four.
        config.write_text(config.read_text().replace("begin=1, interval=2", "begin=0.25, interval=0.5"))
        assert run_tool(log, config, "--work-dir", work_dir, "--resume") == [status], log.read_text()[-2000:]
        if kill_at:
            assert banks(work_dir) == ["epoch_1.json", "epoch_1.npy"]
    lines = log.read_text()
    assert [lines.count(f"map bank after {i} epochs: 33 images") for i in range(4)] == [0, 1, 0, 1]
    assert "WARNING - map bank" not in lines
    expected, resumed = losses(whole_run), losses(work_dir)
    assert list(resumed) == [str(i) for i in range(9, 17)]
    assert all(resumed[i] == expected[i] for i in resumed)
    ours, theirs = (read_checkpoint(str(folder / "epoch_4.pth"))["state_dict"] for folder in (work_dir, whole_run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # Checkpoints 3 and 4 are left, and the bank of epoch 3 is all that they need.
    assert banks(work_dir) == ["epoch_3.json", "epoch_3.npy"]
    assert torch.equal(maps(work_dir, 3), maps(whole_run, 3))
    # One pass was made by a process that was killed before it saved a checkpoint.
    assert json.loads((work_dir / "result.json").read_text())["cost"]["measuring"]["passes"] == 2


def test_a_checkpoint_within_the_epoch_of_a_bank_goes_on_with_it(whole_run, images, tmp_path):
    """On SIGTERM in epoch 1, which began with measuring: a bank of the weights in its middle would be another one."""
    work_dir, log = tmp_path / "run", tmp_path / "log"
    config = write_config(tmp_path / "config.py", images, hooks="dict(type='SignalHook', at=6)")
    config.write_text(config.read_text().replace("'probe_hook'", "'probe_hook', 'break_hook'"))
    assert run_tool(log, config, "--work-dir", work_dir, "--save-on-sigterm") == [143], log.read_text()[-2000:]
    assert f"stopped by SIGTERM; the last checkpoint is {work_dir}/iter_6.pth" in log.read_text()
    config = write_config(tmp_path / "config.py", images)
    assert run_tool(log, config, "--work-dir", work_dir, "--resume") == [0], log.read_text()[-2000:]
    assert log.read_text().count("map bank after 1 epochs: 33 images") == 1
    expected, resumed = losses(whole_run), losses(work_dir)
    assert list(resumed) == [str(i) for i in range(7, 17)] and all(resumed[i] == expected[i] for i in resumed)
    assert sorted(path.name for path in work_dir.glob("*.pth")) == ["epoch_3.pth", "epoch_4.pth"]


def test_killed_within_epochs_with_iteration_checkpoints(whole_run, images, tmp_path):
    """In epoch 1 after its bank was measured, in epoch 3 likewise; each bank is measured once, whatever follows."""
    work_dir, log = tmp_path / "run", tmp_path / "log"
    for kill_at, status in ((8, -9), (15, -9), (None, 0)):
        hook = f"dict(type='KillHook', at={kill_at})" if kill_at else ""
        config = write_config(tmp_path / "config.py", images, hooks=hook)
        options = ["--work-dir", work_dir, "--resume", "--save-every-iters", "1", "--async-save"]
        assert run_tool(log, config, *options) == [status], log.read_text()[-2000:]
        if kill_at == 15:  # killed in epoch 3: what has begun there and the epoch before go on with their own banks
            assert banks(work_dir) == ["epoch_1.json", "epoch_1.npy", "epoch_3.json", "epoch_3.npy"]
            assert 13 <= read_checkpoint(newest_checkpoint(work_dir))["meta"]["iter"] <= 14
    lines = log.read_text()
    assert [lines.count(f"map bank after {i} epochs: 33 images") for i in range(4)] == [0, 1, 0, 1]
    assert "WARNING - map bank" not in lines
    ours, theirs = (read_checkpoint(folder / "epoch_4.pth")["state_dict"] for folder in (work_dir, whole_run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    expected, resumed = losses(whole_run), losses(work_dir)
    assert resumed and all(resumed[i] == expected[i] for i in resumed)
    assert sorted(path.name for path in work_dir.glob("*.pth")) == ["epoch_3.pth", "epoch_4.pth"]


@pytest.mark.parametrize("ending", ["json", "npy"])
def test_a_bank_that_is_cut_off_is_measured_again(ending, whole_run, images, tmp_path):
    config, log = write_config(tmp_path / "config.py", images, "train_cfg = dict(max_epochs=3)"), tmp_path / "log"
    work_dir = tmp_path / "run"
    shutil.copytree(whole_run / "map_bank", work_dir / "map_bank")
    cut = work_dir / "map_bank" / f"epoch_1.{ending}"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert run_tool(log, config, "--work-dir", work_dir, "--resume", whole_run / "epoch_2.pth") == [0], log.read_text()
    assert "epoch_1.npy is missing or of other weights; maps are measured now" in log.read_text()


def test_two_processes_fill_the_same_bank_as_one(whole_run, images, tmp_path):
    config, log = write_config(tmp_path / "config.py", images, "train_cfg = dict(max_epochs=2)"), tmp_path / "log"
    options = ["--work-dir", tmp_path / "run", "--resume", whole_run / "epoch_1.pth", "--launcher", "pytorch"]
    options += ["--cfg-options", "train_dataloader.batch_size=4", "env_cfg.dist_cfg.backend=gloo"]
    (tmp_path / "run" / "map_bank").mkdir(parents=True)
    MapBank.create(tmp_path / "run" / "map_bank" / "epoch_1.npy", 33, (4, 4))  # by a run killed while measuring
    assert run_tool(log, config, *options, processes=2, port=29541) == [0, 0], log.read_text()[-2000:]
    assert about(tmp_path / "run", 1)["id"] == about(whole_run, 1)["id"]
    torch.testing.assert_close(maps(tmp_path / "run", 1), maps(whole_run, 1), rtol=1e-3, atol=1e-4)
    sums = [json.loads((tmp_path / "run" / f"probe_{rank}.json").read_text())["sums"] for rank in (0, 1)]
    assert sums[0] == sums[1]


def test_resume_without_its_bank_warns_once_and_measures(whole_run, images, tmp_path):
    config, log = write_config(tmp_path / "config.py", images, "train_cfg = dict(max_epochs=3)"), tmp_path / "log"
    work_dir = tmp_path / "run"
    assert run_tool(log, config, "--work-dir", work_dir, "--resume", whole_run / "epoch_2.pth") == [0]
    warnings = [line for line in log.read_text().splitlines() if "WARNING - map bank" in line]
    assert len(warnings) == 1 and "epoch_1.npy is missing or of other weights; maps are measured now" in warnings[0]
    assert banks(work_dir) == ["epoch_2.json", "epoch_2.npy"]
    named = read_checkpoint(str(work_dir / "epoch_3.pth"))["meta"]["map_bank"]
    assert named == {"epoch": 2, "id": about(work_dir, 2)["id"]}
    assert sorted(losses(work_dir)) == ["10", "11", "12", "9"]


@pytest.mark.parametrize(
    "body, message",
    [
        ("strategy=dict(_delete_=True, type='RandomMasking', mask_ratio=0.5)", "RandomMasking measures no maps"),
        ("encoder=dict(model_kwargs=dict(embed_dim=48, depth=2, num_heads=3, class_token=False)),"
         "strategy=dict(type='ClassAttentionMasking')", "the encoder has no class token"),
        (")\ncustom_hooks = [dict(type='SeedHook'), dict(_base_.bank, measure_size=12)]\nnote = dict(",
         "got measure_size=12; expected multiples of the patch, 8 x 8, of at most the training's 32 x 32 pixels"),
        ("strategy=dict(_delete_=True, type='AMTMasking', legacy_crop=True))\n"
         "custom_hooks = [dict(type='SeedHook'), dict(_base_.bank, measure_size=16)]\nnote = dict(",
         "got measure_size with a strategy of legacy_crop=True"),
    ],
)
def test_mistakes_give_one_line_before_training(body, message, images, tmp_path):
    config, log = tmp_path / "leaf.py", tmp_path / "log"
    config.write_text(f"_base_ = [{str(write_config(tmp_path / 'config.py', images))!r}]\nmodel = dict({body})")
    assert run_tool(log, config, "--work-dir", tmp_path / "run") == [2]
    lines = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and message in lines[0]
    assert "Epoch(train)" not in log.read_text()


def test_schedule_of_the_bank_belongs_to_the_protocol(images, tmp_path):
    cfg = Config.fromfile(write_config(tmp_path / "config.py", images))
    own = protocol_config(cfg)
    cfg.custom_hooks[3].update(folder="/elsewhere", batch_size=7, num_workers=3)
    assert protocol_config(cfg) == own
    cfg.custom_hooks[3].update(interval=3)
    assert protocol_config(cfg) != own
