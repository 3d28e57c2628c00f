"""TimmViT, the pyramid and the layer decay against detectron2, timm's SAM and BEiT, run once out of the tree.

The fixtures hold mean, mean square and 40 values of each map, and the tables that the projects' own code made. Weights
are made again by name (tests/helpers/deterministic.py); positions and qkv are ten times as large, so that they matter.
"""
import json
from pathlib import Path

import pytest
import torch
from deterministic import fill, numbers
from mmengine.optim import build_optim_wrapper
from torch import nn
from transfer_configs import build, load

from mimtransfer.backbones import SimpleFeaturePyramid, TimmViT

pytestmark = pytest.mark.usefixtures("quick_weights")
FOLDER = Path(__file__).parent / "fixtures"
MAPS = json.loads((FOLDER / "vitdet_official.json").read_text())
TABLES = json.loads((FOLDER / "layer_decay_official.json").read_text())


def vit(**kwargs):
    model = TimmViT(img_size=kwargs.pop("img_size", 224), window_size=14, global_blocks=(1, 3), rel_pos="decomposed",
                    rel_pos_size=1024, final_norm=False,
                    model_kwargs=dict(embed_dim=32, depth=4, num_heads=2), **kwargs).eval()
    fill(model)
    return model


@torch.no_grad()
def louder(model):
    for name, parameter in model.named_parameters():
        if "rel_pos" in name or "pos_embed" in name or "qkv" in name:
            parameter.mul_(10)


def check(got, fixture, atol):
    got = got.flatten().double()
    picks = torch.linspace(0, got.numel() - 1, 40).long()
    torch.testing.assert_close(got[picks], torch.tensor(fixture["values"], dtype=torch.float64), atol=atol, rtol=0)
    assert got.mean().item() == pytest.approx(fixture["mean"], abs=atol)
    assert got.square().mean().item() == pytest.approx(fixture["square"], abs=atol)


@pytest.mark.parametrize("size", MAPS["detectron2"])
def test_backbone_equals_detectron2s(size):
    """ViTDet's ViT: position embedding of 224 with a class token, resampled by plain bicubic interpolation."""
    model = vit(pos_antialias=False)
    louder(model)
    height, width = map(int, size.split("x"))
    with torch.no_grad():
        (got,) = model(numbers(f"images {size}", (1, 3, height, width), 1.0))
    check(got, MAPS["detectron2"][size], 1e-4)


@pytest.mark.parametrize("size", MAPS["sam"])
def test_backbone_equals_timms_sam(size):
    """VisionTransformerSAM of 1024: its position embedding is a map of 64 x 64 without class token."""
    model = vit(img_size=1024)
    with torch.no_grad():
        positions = numbers("pos_embed", (1, 64, 64, 32), 0.05)
        model.pos_embed[:, 1:] = positions.flatten(1, 2)
    louder(model)
    height, width = map(int, size.split("x"))
    with torch.no_grad():
        (got,) = model(numbers(f"images {size}", (1, 3, height, width), 1.0))
    check(got, MAPS["sam"][size], 1e-4)


def test_pyramid_equals_detectron2s():
    pyramid = SimpleFeaturePyramid(in_channels=32, out_channels=16).eval()
    theirs = {name: numbers(name, tuple(shape), 0.05) + ("norm" in name and name.endswith("weight"))
              for name, shape in MAPS["pyramid_names"].items()}
    state, used = pyramid.state_dict(), set()
    for i, (stage, scale) in enumerate(zip((2, 3, 4, 5), (4, 2, 1, 0.5))):
        own = [name for name in state if name.startswith(f"levels.{i}.")]
        other = [name for name in theirs if name.startswith(f"simfp_{stage}.")]
        assert len(own) == len(other), scale
        for name, source in zip(own, other):
            assert state[name].shape == theirs[source].shape, (name, source)
            state[name] = theirs[source]
            used.add(source)
    assert used == set(theirs)
    pyramid.load_state_dict(state)
    for size, levels in MAPS["pyramid"].items():
        height, width = map(int, size.split("x"))
        with torch.no_grad():
            maps = pyramid((numbers(f"map {size}", (1, 32, height, width), 1.0),))
        for got, (_, fixture) in zip(maps, sorted(levels.items()), strict=True):
            check(got, fixture, 1e-5)


def ours(model, cfg):
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): n for n, p in model.named_parameters()}
    base = cfg.optim_wrapper.optimizer.lr
    return {names[id(p)]: (g["lr"] / base, g["weight_decay"]) for g in wrapper.optimizer.param_groups
            for p in g["params"]}


@pytest.mark.parametrize("size, leaf", [
    ("base", "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"),
    ("large", "detection/mask-rcnn_vitdet_vit-large_100e_coco.py"),
    ("huge", "detection/cascade-mask-rcnn_vitdet_vit-huge_75e_coco.py"),
])
def test_every_parameter_has_detectron2s_lr_and_decay(size, leaf):
    table, cfg = TABLES["detectron2"][size], load(leaf)
    got = ours(build(cfg), cfg)
    # The pyramid's parameters have other names; they are all treated alike.
    assert {tuple(v) for n, v in table["others"].items() if "simfp" in n} == {(1.0, 0.1)}
    expected = {f"backbone.{n.removeprefix('backbone.net.')}": tuple(v) for n, v in table["others"].items()
                if "simfp" not in n}
    for i, lr in enumerate(table["block_lr"]):
        expected.update({f"backbone.blocks.{i}.{n}": (lr, decay) for n, decay in table["block_decay"].items()})
    assert {n for n in got if n.startswith("backbone")} == set(expected)
    for name, values in got.items():
        assert values == pytest.approx(expected.get(name, (1.0, 0.1)), rel=1e-9), name


class Segmentor(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = TimmViT(img_size=512, rel_pos="bias", layer_scale=0.1, final_norm=False, **kwargs)
        self.decode_head = nn.Conv2d(self.backbone.embed_dim, 150, 1)


@pytest.mark.parametrize("size, arch, patch, rate", [
    ("base", "vit_base_patch16_224", 16, 0.65), ("large", "vit_large_patch16_224", 16, 0.95),
    ("huge", "vit_huge_patch14_224", 16, 0.9),
])
def test_every_parameter_has_beits_lr_and_decay(size, arch, patch, rate):
    table, cfg = TABLES["beit"][size], load("segmentation/upernet_beit_vit-base_160k_ade20k-512x512.py")
    assert cfg.optim_wrapper.paramwise_cfg.no_decay_names == ()
    cfg.optim_wrapper.paramwise_cfg.layer_decay_rate = rate
    with torch.device("meta"):
        model = Segmentor(arch=arch, patch_size=patch)
    got = ours(model, cfg)
    # BEiT's names: gamma_1 and gamma_2 are layer scales; q and v have biases of their own.
    rename = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "attn.q_bias": "attn.qkv.bias"}
    expected = {n: tuple(v) for n, v in table["others"].items()}
    for i, lr in enumerate(table["block_lr"]):
        expected.update({f"backbone.blocks.{i}.{rename.get(n, n)}": (lr, decay)
                         for n, decay in table["block_decay"].items() if n != "attn.v_bias"})
    left = {n for n in expected if n not in got}
    assert left <= {"backbone.norm.weight", "backbone.norm.bias", "backbone.fc_norm.weight", "backbone.fc_norm.bias"}
    assert set(got) <= set(expected)
    for name, values in got.items():
        assert values == pytest.approx(expected[name], rel=1e-9), name
