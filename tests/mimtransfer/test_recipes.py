"""The schedules that configs call by name give the numbers of the published recipes, and import nothing heavy."""
import subprocess
import sys

import pytest
from mmengine.config import Config

from mimtransfer.training.recipes import (
    iteration_cosine,
    iteration_linear,
    lsj_pipelines,
    mae_detection_schedule,
    upernet_size,
    vitdet_schedule,
    vitdet_size,
    warmup_cosine,
)


@pytest.mark.parametrize("told, iters, milestones, last", [
    (dict(epochs=100), 184375, [163889, 177546], 180001),  # detectron2's ViTDet, ViT-B and ViT-L
    (dict(epochs=75), 138281, [163889 * 3 // 4, 177546 * 3 // 4], 120001),  # its ViT-H
    (dict(epochs=50), 92188, [81944, 88773], 80001),
    (dict(epochs=25), 46094, [40972, 44386], 40001),
    (dict(epochs=25, batch=32), 92188, [81944, 88773], 80001),
    (dict(epochs=100, images=100000, val_interval=30000), 156250, [138889, 150463], 150001),  # its LVIS
])
def test_vitdet_in_epochs(told, iters, milestones, last):
    train_cfg, (warmup, steps) = vitdet_schedule(**told)
    assert train_cfg == dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=told.get("val_interval", 20000),
                             dynamic_intervals=[(last, iters)])
    images_of_warmup = warmup["end"] * told.get("batch", 64)
    assert (images_of_warmup, warmup["start_factor"], warmup["by_epoch"]) == (16000, 0.001, False)
    assert (steps["milestones"], steps["gamma"], steps["end"]) == (milestones, 0.1, iters)


@pytest.mark.parametrize("epochs, iters", [(100, 184375), (50, 92188), (25, 46094)])
def test_mae_before_vitdet(epochs, iters):
    train_cfg, (warmup, cosine) = mae_detection_schedule(epochs)
    assert train_cfg == vitdet_schedule(epochs)[0]
    assert (warmup["end"], cosine["begin"], cosine["T_max"], cosine["end"]) == (461, 461, iters - 461, iters)


def test_cosine_in_epochs():
    """MAE's 800 epochs (arXiv 2111.06377, table 8), and MaPeT's floor as a share of the lr."""
    warmup, cosine = warmup_cosine(epochs=800, warmup=40)
    assert warmup == dict(type="LinearLR", start_factor=1e-6, begin=0, end=40, by_epoch=True,
                          convert_to_iter_based=True)
    assert cosine == dict(type="CosineAnnealingLR", T_max=760, eta_min=0.0, begin=40, end=800, by_epoch=True,
                          convert_to_iter_based=True)
    warmup, cosine = warmup_cosine(epochs=300, warmup=10, start_factor=1e-6 / 1.5e-3, eta_min_ratio=1e-5 / 1.5e-3)
    assert warmup["start_factor"] * 1.5e-3 == pytest.approx(1e-6) and "eta_min" not in cosine
    assert cosine["eta_min_ratio"] * 1.5e-3 == pytest.approx(1e-5)


def test_schedules_in_iterations():
    train_cfg, (warmup, linear) = iteration_linear(iters=160000, val_interval=16000)
    assert (train_cfg["max_iters"], train_cfg["val_interval"], warmup["end"]) == (160000, 16000, 1500)
    assert linear == dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=160000)
    train_cfg, (warmup, cosine) = iteration_cosine(iters=320, warmup=20)
    assert train_cfg["max_iters"] == train_cfg["val_interval"] == 320
    assert (warmup["end"], cosine["begin"], cosine["T_max"], cosine["end"]) == (20, 20, 300, 320)


def test_sizes():
    large = vitdet_size("vit_large_patch16_224")
    assert large == dict(backbone=dict(arch="vit_large_patch16_224", global_blocks=(5, 11, 17, 23), drop_path_rate=0.4),
                         neck=dict(in_channels=1024))
    huge = vitdet_size("vit_huge_patch14_224", drop_path_rate=0.4)["backbone"]
    assert (huge["patch_size"], huge["global_blocks"], huge["drop_path_rate"]) == (16, (7, 15, 23, 31), 0.4)
    assert upernet_size("vit_large_patch16_224")["decode_head"] == dict(in_channels=[1024] * 4, channels=1024)


def test_pipelines_derive_from_one_image_size():
    train, test = lsj_pipelines((768, 512))
    sizes = {step["type"]: step.get("scale", step.get("crop_size")) for step in train + test}
    assert sizes["RandomResize"] == sizes["RandomCrop"] == sizes["Resize"] == (768, 512)


def test_a_config_that_calls_them_dumps_to_plain_numbers(tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(
        "_base_ = []\n"
        "from mimtransfer.training.recipes import vitdet_schedule, warmup_cosine\n"
        "train_cfg, param_scheduler = vitdet_schedule(epochs=25)\n"
    )
    cfg = Config.fromfile(leaf)
    assert set(cfg) == {"train_cfg", "param_scheduler"} and cfg.train_cfg.max_iters == 46094
    cfg.dump(tmp_path / "dumped.py")
    assert "import" not in (tmp_path / "dumped.py").read_text()
    assert Config.fromfile(tmp_path / "dumped.py").to_dict() == cfg.to_dict()


def test_nothing_heavy_is_imported():
    code = ("import sys, mimtransfer.training.recipes\n"
            "assert not {'torch', 'mmengine', 'mmdet', 'timm'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
