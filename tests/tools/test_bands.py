"""Images of 4 channels and of one of 16 bits, from the made data over statistics and pretraining to segmentation."""
import json
from pathlib import Path

import numpy as np
import pytest
from forked_tool import run_tool
from own_tool import call_tool
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.scenes.bands import write_bands
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

ROOT = Path(__file__).parents[2]
SEGMENTATION = ROOT / "configs/bands/upernet_vit-demo_4-bands.py"
BANDS = "data/scenes/bands"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes")
    make_scenes(out, SceneSet(counts={"train": 4, "val": 2, "unlabelled": 8}), workers=1, progress=False)
    return out


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a tool's main() in this process, in the working directory; return its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(tool, *args):
        return call_tool(tool, *args)

    return run


def pretraining(in_chans, tmp_path):
    """Pretrain for one epoch of two steps; return the work dir and the losses."""
    out, log = tmp_path / "work_dirs/mae", tmp_path / "mae.log"
    few = {"train_cfg.max_epochs": 1, "train_dataloader.batch_size": 4, "train_dataloader.num_workers": 0,
           "default_hooks.logger.interval": 1, "in_chans": in_chans}
    options = [f"{key}={value}" for key, value in few.items()]
    config = ROOT / "configs/bands/mae_vit-demo_4-bands.py"
    assert run_tool(log, config, "--work-dir", out, "--cfg-options", *options) == [0], log.read_text()[-3000:]
    lines = [json.loads(line) for path in out.glob("*/vis_data/scalars.json") for line in path.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 and np.isfinite(losses).all()
    return out, losses


def test_steps_of_the_benchmark_have_the_channels_of_the_config(call, tmp_path):
    folder = tmp_path / BANDS / "unlabelled"
    folder.mkdir(parents=True)
    np.save(folder / "0.npy", np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8))
    assert call("dataset_stats", folder, "--out", f"{BANDS}/statistics.json") == 0
    config = ROOT / "configs/bands/mae_vit-demo_4-bands.py"
    assert call("benchmark", config, "--batch-size", 2, "--rounds", 1, "--device", "cpu") == 0


@pytest.mark.parametrize("in_chans, dtype", [(4, "float32"), (1, "uint16")])
def test_from_made_data_to_segmentation(in_chans, dtype, scenes, call, tmp_path, capsys):
    folder = tmp_path / "data/scenes"
    folder.parent.mkdir()
    folder.symlink_to(scenes)
    assert write_bands(folder, in_chans, dtype) == 14

    assert call("dataset_stats", f"{BANDS}/unlabelled", "--out", f"{BANDS}/statistics.json") == 0
    found = json.loads((folder / "bands/statistics.json").read_text())
    every = np.stack([np.load(path) for path in (folder / "bands/unlabelled").glob("*.npy")]).astype(np.float64)
    assert np.allclose(found["mean"], every.mean((0, 1, 2)), rtol=1e-6)
    assert np.allclose(found["std"], every.std((0, 1, 2)), rtol=1e-6)
    assert (found["dtype"], found["images"], len(found["mean"])) == (dtype, 8, in_chans)
    assert "8 images" in capsys.readouterr().out
    if dtype == "uint16":  # more than the 8 bits of a reduced image
        assert len(np.unique(every)) > 1000

    run, losses = pretraining(in_chans, tmp_path)
    assert all(0.5 < loss < 3 for loss in losses)  # of normalised patches
    picture = np.asarray(Image.open(next(run.glob("*/vis_data/vis_image/reconstruction_1.png"))))
    assert picture.shape[2] == 3 and picture.std() > 20
    checkpoint = read_checkpoint(run / "epoch_1.pth")
    assert checkpoint["state_dict"]["encoder.patch_embed.proj.weight"].shape == (128, in_chans, 8, 8)
    assert "statistics.json" not in checkpoint["meta"]["cfg"]  # its numbers are there instead

    few = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", f"in_chans={in_chans}", "train_dataloader.batch_size=2",
           "train_dataloader.num_workers=0", "val_dataloader.num_workers=0"]
    assert call("train", SEGMENTATION, "--pretrained", run, "--work-dir", "seg", "--cfg-options", *few) == 0
    result = json.loads((tmp_path / "seg/result.json").read_text())
    assert 0 <= result["metrics"]["miou"]["value"] <= 100
    drawn = next((tmp_path / "seg").glob("*/vis_data/vis_image/prediction_0*.png"))
    assert np.asarray(Image.open(drawn)).std() > 10
    log = next((tmp_path / "seg").glob("*/*.log")).read_text()
    assert "input normalisation differs" not in log and "resized" not in log
    if in_chans == 1:
        image = next((folder / "bands/val").glob("*.npy"))
        assert call("predict", SEGMENTATION, "seg", image, "--out", "seen", "--cfg-options", "in_chans=1") == 0
        assert call("visualize", run, folder / "bands/val", "--num-images", 1, "--out", "v.png") == 0
