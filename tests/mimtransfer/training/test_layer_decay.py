"""Layer-wise lr decay: every parameter of ViT-B and ViT-L against the published rules, restated here on their own."""
import copy
import itertools
import math

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import CosineAnnealingLR, LinearLR, PolyLR, build_optim_wrapper
from torch import nn

from mimtransfer.errors import UserError
from mimtransfer.training.layer_decay import find_vits, layer_scale

LR, WD = 1e-4, 0.05


class Segmentor(nn.Module):
    """A ViT with what surrounds it in a detector or segmentor."""

    def __init__(self, arch: str = "vit_tiny_patch16_224", **kwargs):
        super().__init__()
        self.backbone = timm.create_model(arch, num_classes=0, **kwargs)
        width = self.backbone.embed_dim
        self.neck = nn.Sequential(nn.Conv2d(width, 8, 1), nn.GroupNorm(1, 8))
        self.decode_head = nn.Conv2d(8, 3, 1)


def build(model, wrapper=None, **paramwise):
    cfg = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=LR, weight_decay=WD),
               constructor="mimtransfer.LayerDecayOptimWrapperConstructor", paramwise_cfg=paramwise)
    return build_optim_wrapper(model, {**cfg, **(wrapper or {})})


def per_parameter(model, optim_wrapper):
    """name -> (lr, weight decay) as the optimizer holds them; every trainable parameter is in just one group."""
    names = {id(p): n for n, p in model.named_parameters()}
    groups = optim_wrapper.optimizer.param_groups
    seen = [(names[id(p)], (g["lr"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert sorted(n for n, _ in seen) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    return dict(seen)


def beit_rule(name, ndim, num_layers, rate):
    """unilm beit/optim_factory.py by its facts: the ids, and who is not decayed."""
    num_max_layer = num_layers + 2
    if name.startswith(("backbone.cls_token", "backbone.mask_token", "backbone.pos_embed", "backbone.patch_embed")):
        layer_id = 0
    elif name.startswith("backbone.blocks"):
        layer_id = int(name.split(".")[2]) + 1
    else:
        layer_id = num_max_layer - 1
    skip = name.endswith(("pos_embed", "cls_token", "relative_position_bias_table"))
    decay = 0.0 if ndim == 1 or name.endswith(".bias") or skip else WD
    return LR * rate ** (num_max_layer - layer_id - 1), decay


def detectron2_scale(name, num_layers, rate):
    """detectron2 modeling/backbone/vit.py, get_vit_lr_decay_rate, by its facts."""
    layer_id = num_layers + 1
    if name.startswith("backbone"):
        if ".pos_embed" in name or ".patch_embed" in name:
            layer_id = 0
        elif ".blocks." in name:
            layer_id = int(name.split(".blocks.")[1].split(".")[0]) + 1
    return rate ** (num_layers + 1 - layer_id)


@pytest.mark.parametrize("arch, num_layers, rate", [
    ("vit_base_patch16_224", 12, 0.65), ("vit_large_patch16_224", 24, 0.8), ("beit_base_patch16_224", 12, 0.9),
])
def test_every_parameter_follows_beit(arch, num_layers, rate):
    with torch.device("meta"):
        model = Segmentor(arch)
    got = per_parameter(model, build(model, layer_decay_rate=rate))
    for name, param in model.named_parameters():
        assert got[name] == pytest.approx(beit_rule(name, param.ndim, num_layers, rate), rel=1e-12), name
    assert got[f"backbone.blocks.{num_layers - 1}.mlp.fc1.weight"][0] == pytest.approx(LR * rate)
    assert got["backbone.patch_embed.proj.weight"][0] == pytest.approx(LR * rate ** (num_layers + 1))
    assert got["decode_head.weight"] == (LR, WD)


@pytest.mark.parametrize("arch, num_layers, rate", [
    ("samvit_base_patch16", 12, 0.7), ("vit_large_patch16_224", 24, 0.8),
])
def test_ids_and_decay_are_detectron2s(arch, num_layers, rate):
    with torch.device("meta"):
        model = Segmentor(arch)
    # detectron2 decays biases and relative positions, not norms and not the position embedding
    got = per_parameter(model, build(model, layer_decay_rate=rate, bias_decay_mult=1.0, no_decay_names=["pos_embed"]))
    norms = {n for n, m in model.named_modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))}
    for name, _ in model.named_parameters():
        if name.endswith("cls_token"):
            continue  # ViTDet drops it
        lr, decay = got[name]
        assert lr == pytest.approx(LR * detectron2_scale(name, num_layers, rate), rel=1e-12), name
        assert decay == (0.0 if name.rpartition(".")[0] in norms or name.endswith("pos_embed") else WD), name


def test_groups_are_merged():
    with torch.device("meta"):
        model = Segmentor("vit_base_patch16_224")
    groups = build(model, layer_decay_rate=0.65).optimizer.param_groups
    assert len(groups) == 2 * (12 + 2)
    assert len({(g["lr"], g["weight_decay"]) for g in groups}) == len(groups)
    plain = build(model, layer_decay_rate=1.0).optimizer.param_groups
    assert sorted(g["weight_decay"] for g in plain) == [0.0, WD] and {g["lr"] for g in plain} == {LR}


class Method(nn.Module):
    """A pretraining method: an encoder, and a decoder with blocks of its own that are not part of a ViT."""

    def __init__(self):
        super().__init__()
        self.encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=4)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.decoder = nn.Module()
        self.decoder.blocks = nn.ModuleList([nn.Linear(8, 8)])


def test_encoder_of_a_method_and_a_bare_classifier():
    method = Method()
    assert find_vits(method) == {"encoder.": 4}
    got = per_parameter(method, build(method, layer_decay_rate=0.5))
    assert got["encoder.blocks.0.mlp.fc1.weight"] == (pytest.approx(LR * 0.5**4), WD)
    assert got["encoder.cls_token"] == (pytest.approx(LR * 0.5**5), 0.0)
    assert got["decoder.blocks.0.weight"] == (LR, WD)
    assert got["mask_token"] == (LR, 0.0)
    classifier = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=4)
    got = per_parameter(classifier, build(classifier, layer_decay_rate=0.5))
    assert got["norm.weight"] == (LR, 0.0) and got["head.weight"] == (LR, WD)
    assert got["blocks.3.attn.qkv.weight"] == (pytest.approx(LR * 0.5), WD)


def test_mae_pretraining_decays_tokens():
    method = Method()
    got = per_parameter(method, build(method, no_decay_names=()))
    for name, param in method.named_parameters():
        assert got[name] == (LR, 0.0 if param.ndim == 1 else WD), name


def test_frozen_parameters_are_left_out():
    model = Segmentor()
    model.backbone.patch_embed.requires_grad_(False)
    names = per_parameter(model, build(model, layer_decay_rate=0.65))
    assert not [n for n in names if "patch_embed" in n]
    with pytest.raises(UserError, match="no trainable parameter"):
        build(model.requires_grad_(False))


def test_custom_keys_longest_wins():
    model = Segmentor()
    got = per_parameter(model, build(model, layer_decay_rate=0.5, custom_keys={
        "decode_head": dict(lr_mult=10.0),
        "decode_head.bias": dict(lr_mult=2.0, decay_mult=0.5),
        "blocks.11": dict(lr_mult=3.0),
    }))
    assert got["decode_head.weight"] == (pytest.approx(10 * LR), WD)
    assert got["decode_head.bias"] == (pytest.approx(2 * LR), pytest.approx(0.5 * WD))
    assert got["backbone.blocks.11.attn.proj.weight"] == (pytest.approx(1.5 * LR), WD)
    assert got["backbone.blocks.11.norm1.weight"] == (pytest.approx(1.5 * LR), 0.0)
    assert got["backbone.blocks.10.attn.proj.weight"] == (pytest.approx(0.25 * LR), WD)


@pytest.mark.parametrize("paramwise, message", [
    (dict(layer_decay_rat=0.5), "did you mean 'layer_decay_rate'"),
    (dict(layer_decay_rate=1.5), "expected a number in"),
    (dict(layer_decay_rate=0.5, num_layers=11), r"num_layers is 11 but the ViT has \[12\]"),
    (dict(custom_keys={"neck": dict(lr=1.0)}), r"custom_keys\['neck'\]"),
])
def test_mistakes_are_named(paramwise, message):
    with pytest.raises(UserError, match=message) as error:
        build(Segmentor(), **paramwise)
    assert "\n" not in str(error.value)


def test_refuses_models_without_vit_and_missing_lr():
    with pytest.raises(UserError, match="holds no plain ViT"):
        build(nn.Linear(2, 2), layer_decay_rate=0.5)
    with pytest.raises(UserError, match="explicit 'lr' and 'weight_decay'"):
        build(Segmentor(), wrapper=dict(optimizer=dict(type="AdamW", lr=LR)))


@given(num_layers=st.integers(1, 48), rate=st.floats(0.1, 1.0))
@settings(max_examples=50, deadline=None)
def test_scales_grow_with_depth_by_one_rate(num_layers, rate):
    vits = {"backbone.": num_layers}
    blocks = [f"backbone.blocks.{i}.norm1.weight" for i in range(num_layers)]
    names = ["backbone.pos_embed", *blocks, "backbone.norm.weight"]
    scales = [layer_scale(n, vits, rate) for n in names]
    assert scales[-1] == layer_scale("neck.conv.weight", vits, rate) == 1.0
    for low, high in itertools.pairwise(scales):
        assert math.isclose(low, high * rate, rel_tol=1e-12)


@pytest.mark.parametrize("make", [
    lambda o: LinearLR(o, start_factor=1e-3, begin=0, end=10, by_epoch=False),
    lambda o: PolyLR(o, eta_min=0.0, power=1.0, begin=0, end=20, by_epoch=False),
    lambda o: CosineAnnealingLR(o, eta_min_ratio=1e-2, T_max=20, by_epoch=False),
])
def test_schedules_keep_the_ratios(make):
    model = Segmentor()
    wrapper = build(model, layer_decay_rate=0.65)
    base = [g["lr"] for g in wrapper.optimizer.param_groups]
    scheduler = make(wrapper)
    factors = []
    for _ in range(12):
        lrs = [g["lr"] for g in wrapper.optimizer.param_groups]
        factors.append(lrs[-1] / base[-1])
        assert lrs == pytest.approx([lr * factors[-1] for lr in base], rel=1e-9)
        scheduler.step()
    assert len(set(factors)) > 5


def test_accumulation_steps_at_the_group_rates():
    """One SGD step over two half batches moves every weight by its own lr times the mean gradient."""
    torch.manual_seed(0)
    model = Segmentor(depth=2, img_size=32)
    before = copy.deepcopy(model)
    sgd = dict(type="SGD", lr=LR, weight_decay=0.0)
    wrapper = build(model, wrapper=dict(accumulative_counts=2, optimizer=sgd), layer_decay_rate=0.5)
    images = torch.randn(4, 3, 32, 32)
    lrs = per_parameter(model, wrapper)
    wrapper.initialize_count_status(model, 0, 2)
    for half in images.chunk(2):
        with wrapper.optim_context(model):
            loss = model.backbone(half).square().mean()
        wrapper.update_params(loss)
    before.backbone(images).square().mean().backward()
    for (name, new), old in zip(model.named_parameters(), before.parameters()):
        if old.grad is not None:
            torch.testing.assert_close(new, old - lrs[name][0] * old.grad, rtol=1e-4, atol=1e-7)
            assert name.startswith("backbone.")


def test_bf16_wrapper_and_table(caplog):
    from mmengine.logging import MMLogger
    logger = MMLogger.get_instance("layer_decay_test", logger_name="layer_decay_test")
    logger.addHandler(caplog.handler)
    wrapper = build(Segmentor(), wrapper=dict(type="mimtransfer.Bf16OptimWrapper"), layer_decay_rate=0.65)
    assert type(wrapper).__name__ == "Bf16OptimWrapper"
    table = next(r.getMessage() for r in caplog.records if r.getMessage().startswith("lr groups:")).splitlines()
    assert len(table) == 2 + 2 * 14
    assert table[2].split()[:3] == [f"{0.65**13:.4g}", f"{LR * 0.65**13:.3e}", "0"]
    assert "backbone.cls_token" in table[2]
    assert table[-1].split()[0] == "1" and "neck.0.weight" in table[-1]
