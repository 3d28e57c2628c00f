"""Images of other channels than the backbone takes: one line from every tool."""
import re
from pathlib import Path

import pytest
import torch
from bad_data import Boxes, Classes, Maps
from mmengine.config import Config

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.backbones import TimmCNN, TimmSwin, TimmViT
from mimtransfer.checks import FAIL, data
from mimtransfer.checks.channels import channel_findings
from mimtransfer.checks.config import check_config
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from pretrain.runner import build_runner

ROOT = Path(__file__).parents[3]
MAE = str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")
SMALL = dict(img_size=32, patch_size=8)
VIT = dict(embed_dim=48, depth=2, num_heads=3)

CASES = {
    "model_kwargs": (dict(backbone=dict(model_kwargs=dict(in_chans=4))), "of TimmViT may not hold in_chans; set it at"),
    "too many": (dict(backbone=dict(in_chans=17)), "TimmViT: got in_chans=17; expected an integer, 1 to 16"),
    "mean of 1": (dict(data_preprocessor=dict(mean=[127.5], std=[60.0])), "data_preprocessor.mean has 1 values"),
    "mean of 4": (dict(data_preprocessor=dict(mean=[127.5] * 4, std=[60.0] * 4)), "expected 3, one for each channel"),
    "std of 2": (dict(data_preprocessor=dict(mean=[127.5] * 3, std=[60.0] * 2)), "data_preprocessor.std has 2 values"),
}
STEPS = {
    "grey": (dict(type="LoadImageFromFile", color_type="grayscale"), "color_type='grayscale' reads 1 channel"),
    "as stored": (dict(type="mmcv.LoadImageFromFile", color_type="unchanged"), "as many channels as the file has"),
    "stacked files": (dict(type="LoadMultiChannelImageFromFiles"), "LoadMultiChannelImageFromFiles reads other"),
}


FOUR = dict(model=dict(backbone=dict(type="TimmViT", in_chans=4), data_preprocessor=dict(mean=[0.0] * 4, std=[1] * 4)))
BANDS = dict(type="mimtransfer.LoadBands", in_chans=4)


def of_four(scope, *steps, **more):
    dataset = dict(type="BaseSegDataset", pipeline=list(steps))
    return Config(dict(FOUR, default_scope=scope, train_dataloader=dict(dataset=dataset), **more))


def test_segmentation_of_four_channels_is_accepted():
    assert list(channel_findings(of_four("mmseg", BANDS))) == []


@pytest.mark.parametrize("cfg, says", [
    (of_four("mmseg", dict(type="LoadImageFromFile")), "LoadImageFromFile reads 3 channels, the backbone takes 4; read "
     "the images by mimtransfer.LoadBands"),
    (of_four("mmseg", dict(BANDS, in_chans=5)), "LoadBands reads in_chans=5, the backbone takes 4"),
    (of_four("mmseg", BANDS, dict(type="PhotoMetricDistortion")), "PhotoMetricDistortion changes colours"),
    (of_four("mmdet", BANDS), "in_chans=4: detection reads RGB images only"),
    (Config(dict(FOUR, model=dict(FOUR["model"], encoder=dict(num_layers=6)), default_scope="mmdet")),  # a DETR
     "in_chans=4: detection reads RGB images only"),
    (of_four("mimtransfer", task="classification"), "in_chans=4: classification reads RGB images only"),
    (Config(dict(model=dict(encoder=dict(type="TimmViT", in_chans=4)), train_dataloader=dict(dataset=dict(
        type="CIFAR10")))), "CIFAR10 reads in_chans=3, the encoder takes 4"),
    (Config(dict(model=dict(backbone=dict(type="TimmViT"), data_preprocessor=dict(bgr_to_rgb=True)),
                 train_dataloader=dict(dataset=dict(pipeline=[dict(BANDS, in_chans=3)])))),
     "LoadBands keeps the order of the channels"),
])
def test_what_cannot_read_four_channels_is_refused(cfg, says):
    lines = [found.line for found in channel_findings(cfg)]
    assert len(lines) == 1 and says in lines[0] and "\n" not in lines[0]


def refused(path):
    """Return what doctor and the tools' own look say: the same line."""
    found = [f.line for f in check_config(path, [], None, 10) if f.level == FAIL]
    cfg = launch.load_config(path, [])
    launch.enter_scope(cfg)
    with pytest.raises(UserError) as stopped:
        data.check_data(cfg)
    line = str(stopped.value)
    assert line in found and "\n" not in line  # doctor names unknown arguments before
    return line


@pytest.mark.parametrize("kind", [Boxes, Maps, Classes])
@pytest.mark.parametrize("case", CASES)
def test_a_transfer_config_is_refused(kind, case, tmp_path):
    change, says = CASES[case]
    made = kind(tmp_path)
    made.cfg["model"] = Config(made.cfg["model"])
    made.cfg["model"].merge_from_dict(change)
    made.cfg["model"] = made.cfg["model"].to_dict()
    assert says in refused(made.write())


@pytest.mark.parametrize("kind", [Boxes, Maps])
@pytest.mark.parametrize("step", STEPS)
def test_a_pipeline_that_reads_other_channels_is_refused(kind, step, tmp_path):
    made = kind(tmp_path)
    made.dataset("val")["pipeline"] = [STEPS[step][0]]
    assert STEPS[step][1] in refused(made.write())


@pytest.mark.parametrize("step", STEPS)
def test_a_backbone_of_openmmlab_may_take_any_channels(step):
    cfg = Config(dict(model=dict(backbone=dict(type="ResNet", in_channels=4), data_preprocessor=dict(mean=[0.0] * 4)),
                      train_dataloader=dict(dataset=dict(pipeline=[STEPS[step][0]]))))
    assert list(channel_findings(cfg)) == []


@pytest.mark.parametrize("change, says", [
    ({"model.encoder.in_chans": 4, "model.data_preprocessor.mean": [0.0] * 4, "model.data_preprocessor.std": [1.0] * 4},
     "ImgDataPreprocessor normalises 1 or 3 channels, the backbone takes 4"),
    ({"model.data_preprocessor.mean": [127.5], "model.data_preprocessor.std": [60.0]}, "mean has 1 values, expected 3"),
    ({"model.data_preprocessor.mean": [127.5] * 4}, "mean has 4 values, expected 3"),
])
def test_a_pretraining_config_is_refused(change, says, tmp_path):
    cfg = Config.fromfile(MAE)
    cfg.merge_from_dict(change)
    cfg.work_dir = str(tmp_path)
    assert says in next(channel_findings(cfg)).line
    with pytest.raises(UserError, match=re.escape(says)):
        build_runner(cfg)


BUILD = {
    "TimmViT": lambda **more: TimmViT("vit_tiny_patch16_224", **SMALL, model_kwargs=VIT, **more),
    "TimmSwin": lambda **more: TimmSwin("swin_tiny_patch4_window7_224", img_size=64, window_size=4, model_kwargs=dict(
        embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), **more),
    "TimmCNN": lambda **more: TimmCNN("resnet18", **more),
}


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("channels", [1, 4])
def test_a_backbone_takes_its_number_of_channels_only(name, channels):
    backbone = BUILD[name](in_chans=channels)
    assert backbone(torch.zeros(1, channels, 64, 64))[0].isfinite().all()
    with pytest.raises(UserError, match=rf"{name} got images of 3 channels, expected {channels}; set in_chans=3"):
        backbone(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UserError, match=f"{name}: got in_chans=0; expected an integer, 1 to 16"):
        BUILD[name](in_chans=0)
