"""MAE on a rotary ViT, from the demo's pictures to a detector in windows: both tools, end to end."""
import json
from pathlib import Path

import pytest
from own_tool import call_tool

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / "configs/pretrain/mae_vit-demo_scenes.py"
DETECT = ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py"
ARCH = "vit_small_patch16_dinov3_qkvb"
LOADER = [f"train_dataloader.{setting}" for setting in ("batch_size=2", "num_workers=0", "persistent_workers=False")]


def options(part, **values):
    """Turn the demo's ViT into a rotary one, its width and depth kept."""
    values = dict(arch=ARCH, pos_embed="learned", layer_scale=1.0) | values
    return [f"model.{part}.{name}={value}" for name, value in values.items()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    make_scenes(tmp_path / "data/scenes", SceneSet(counts={"train": 2, "val": 2, "unlabelled": 4}), workers=1,
                progress=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_mae_pretrains_on_the_demos_pictures_and_transfers(folder, capsys):
    assert call_tool("pretrain", PRETRAIN, "--work-dir", "mae", "--cfg-options", *options("encoder"), *LOADER,
                     "train_cfg.max_epochs=1", "param_scheduler=[]") == 0
    state = read_checkpoint("mae/epoch_1.pth")
    assert state["meta"]["mimtransfer"]["arch"] == ARCH
    pretrained = state["state_dict"]["encoder.blocks.0.attn.qkv.weight"]

    short = ["train_cfg.max_iters=1", "train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1",
             "val_dataloader.num_workers=0", "test_dataloader.num_workers=0"]
    train = ["train", DETECT, "--work-dir", "det", "--pretrained", "mae", "--cfg-options", *LOADER, *short]
    assert call_tool(*train, *options("backbone", window_size=3, global_blocks="(2,5)")) == 0
    result = json.loads(Path("det/result.json").read_text())
    assert result["init"]["path"].endswith("epoch_1.pth") and "box_ap" in result["metrics"]
    log = "".join(path.read_text() for path in Path("det").glob("*/*.log"))
    assert "DINOv3" not in log and "left as initialised" not in log and "backbone tensors" in log
    trained = read_checkpoint("det/iter_1.pth")["state_dict"]["backbone.blocks.0.attn.qkv.weight"]
    assert 0 < (trained - pretrained).abs().max() < 1e-2  # one small step away from what was loaded

    capsys.readouterr()
    assert call_tool(*train) == 2  # the demo's own plain ViT
    assert "is of DINOv3, whose positions are rotary (RoPE)" in capsys.readouterr().err
