"""What warned without reason, or did not warn where there was one: scaling off, MAE's files, wrong backbones, noise."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checks.recipe import normalisation_warning, recipe_of, recipe_warnings, run_of
from mimtransfer.cli import launch
from mimtransfer.errors import UserError

ROOT = Path(__file__).parents[3]
SMALL = dict(arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
             model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))


def leaf(tmp_path, text, base="auto_scale_lr = dict(enable=True, base_batch_size=256)"):
    (tmp_path / "base.py").write_text(f"""{base}
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
""")
    (tmp_path / "leaf.py").write_text(f"_base_ = './base.py'\n{text}\n")
    return launch.load_config(str(tmp_path / "leaf.py"), [])


@pytest.mark.parametrize("text", [
    "auto_scale_lr = dict(enable=False)", "auto_scale_lr = dict(\n    enable=False,\n)",
    "optim_wrapper = dict(optimizer=dict(lr=2e-3))\nauto_scale_lr = dict(enable=False)",
])
def test_an_inherited_base_batch_size_is_not_the_recipes_when_scaling_is_off(tmp_path, text):
    cfg = leaf(tmp_path, text)
    assert recipe_of(cfg).batch == 64 and recipe_warnings(recipe_of(cfg), run_of(cfg, 1)) == []
    assert "by the linear rule" in recipe_warnings(recipe_of(cfg), run_of(cfg, 8))[0]


def test_a_batch_named_beside_the_switch_is_the_recipes(tmp_path):
    """mmdet's way: scaling is off, and base_batch_size says for which batch the lr is."""
    cfg = leaf(tmp_path, "", base="auto_scale_lr = dict(enable=False, base_batch_size=512)")
    assert recipe_of(cfg).batch == 512 and recipe_warnings(recipe_of(cfg), run_of(cfg, 8)) == []
    assert "by the linear rule 0.000125 here" in recipe_warnings(recipe_of(cfg), run_of(cfg, 1))[0]
    cfg = leaf(tmp_path, "auto_scale_lr = dict(enable=False, base_batch_size=128)")
    assert recipe_of(cfg).batch == 128


def test_shipped_configs_with_scaling_off_do_not_warn_of_their_own_batch():
    for name in ("pretrain/mae_vit-demo_scenes.py", "pretrain/mfm_resnet50-demo_scenes.py"):
        cfg = launch.load_config(str(ROOT / "configs" / name), [])
        assert not cfg.auto_scale_lr.enable and recipe_warnings(recipe_of(cfg), run_of(cfg, 1)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_mae_encoder_alone_is_told_by_its_positions(dtype):
    """`mae_pretrain_vit_base.pth` holds `{"model": ...}` in timm's names; its table of positions is never trained."""
    state = {name: value.to(dtype) for name, value in TimmViT(**SMALL, pos_embed="sincos").state_dict().items()}
    found = read_format({"model": state})
    assert "MAE" in found.source and set(found.encoder) == set(state)
    half = {"mean": [127.5] * 3, "std": [127.5] * 3, "channels": "rgb"}
    report = type("Report", (), {"source": found.source, "pretraining": None})
    assert "input normalisation differs from that of the pretraining (MAE" in normalisation_warning(report, half)


def test_learned_positions_stay_timms():
    state = TimmViT(**SMALL).state_dict()
    assert read_format(state).source == "timm"
    classifier = {**TimmViT(**SMALL, pos_embed="sincos").state_dict(), "head.weight": torch.zeros(10, 48)}
    assert read_format(classifier).source == "timm"  # fine-tuned by whomever


@pytest.mark.parametrize("arch, expected", [
    ("convnext_tiny", "is a network of stages and no plain ViT: use type='mimtransfer.TimmCNN'"),
    ("resnet50", "use type='mimtransfer.TimmCNN'"), ("regnety_016", "use type='mimtransfer.TimmCNN'"),
    ("swin_tiny_patch4_window7_224", "is a Swin and no plain ViT: use type='mimtransfer.TimmSwin'"),
    ("mixer_s16_224", "not a plain ViT|timm cannot build"),
])
def test_a_network_of_another_backbone(arch, expected):
    with pytest.raises(UserError, match=expected):
        TimmViT(arch=arch, img_size=224)


TOOL = """
import warnings
warnings.simplefilter("default")
import mimtransfer
from mimtransfer.cli.clean_exit import clean_exit
with clean_exit():
    from mimtransfer.cli import launch
    cfg = launch.load_config("configs/detection/mask-rcnn_resnet50-fpn_1x_coco.py", [])
    from mmengine.fileio import FileClient
    FileClient.infer_client(uri="/tmp")
    from mmengine.fileio.file_client import HardDiskBackend
    HardDiskBackend()
"""


def test_a_tool_starts_without_noise():
    done = subprocess.run([sys.executable, "-c", TOOL], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pkg_resources" not in done.stderr
    assert "FileClient" not in done.stdout + done.stderr and "HardDiskBackend" not in done.stdout + done.stderr


def test_every_tool_that_reads_a_config_has_the_one_entry():
    noisy = [path.name for path in sorted((ROOT / "tools").glob("*.py")) if "clean_exit" not in path.read_text()]
    assert noisy == []
