"""SimMIM against the official code, and how it starts.

How `fixtures/simmim_official.json` was made: the classes of microsoft/SimMIM's models/simmim.py, with the arguments of
each case (ViT: layer scale, final norm, and absolute positions or, with `shared_bias`, a relative position bias that
all blocks share), every parameter filled by `official` below, images and the order of cells by `numbers`, as in the
test; then loss, norms of all gradients, the sums of the decoder's output under the mask, and every n-th value of the
encoder's output [B, L, D].
"""
import json
import math
import re
from pathlib import Path

import pytest
import torch
from deterministic import numbers
from torch import Tensor

from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout
from pretrain.methods.simmim import SimMIM  # registers it

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "simmim_official.json").read_text())["cases"]
VIT = dict(
    type="TimmViT",
    arch="vit_tiny_patch16_224",
    img_size=32,
    patch_size=8,
    layer_scale=0.1,
    model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
)
SWIN = dict(
    type="TimmSwin",
    arch="swin_tiny_patch4_window7_224",
    img_size=64,
    window_size=4,
    model_kwargs=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4)),
)


def official(name: str, shape: list[int]) -> Tensor:
    """Make a tensor of the official model: 0.05 times normal numbers, in a shared bias 1 times, and 1 added to the
    weights of norms and layer scale; index tables are not used.
    """
    is_scale = "gamma" in name or ("norm" in name and name.endswith("weight"))
    return numbers(name, tuple(shape), 1.0 if "rel_pos_bias" in name else 0.05) + is_scale


def encoder_of(case: dict) -> dict:
    arguments = {key: case[key] for key in ("embed_dim", "depth", "depths", "num_heads") if key in case}
    if "depths" in case:
        return dict(SWIN, img_size=case["img_size"], window_size=case["window_size"], model_kwargs=arguments)
    sizes = dict(img_size=case["img_size"], patch_size=case["patch_size"])
    positions = dict(rel_pos="bias", pos_embed="none") if "shared_bias" in case else {}
    return dict(VIT, **sizes, **positions, model_kwargs=arguments)


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_loss_and_gradients_equal_the_official_code(case, tmp_path):
    model = SimMIM(encoder=encoder_of(case))
    state = {name: official(name, shape) for name, shape in case["shapes"].items()}
    torch.save({"model": state}, tmp_path / "official.pth")
    report = load_backbone(model.encoder, tmp_path / "official.pth")
    assert report.source.startswith("official SimMIM") and not report.expected_missing and not report.resized
    side = model.encoder.patch_size[0]
    with torch.no_grad():
        model.mask_token.copy_(state["encoder.mask_token"])
        # Official channels (C, p, p), ours (p, p, C).
        weight, bias = state["decoder.0.weight"][:, :, 0, 0], state["decoder.0.bias"]
        model.head.weight.copy_(weight.unflatten(0, (3, side * side)).transpose(0, 1).flatten(0, 1))
        model.head.bias.copy_(bias.unflatten(0, (3, side * side)).t().flatten())
    grid = (case["img_size"] // side,) * 2
    unit = case["unit"] * case["patch_size"] // side
    images = numbers("images", (2, 3, case["img_size"], case["img_size"]), 1.0)
    order = numbers("noise", (2, (grid[0] // unit) ** 2), 1.0).argsort(1)
    layout = TokenLayout.from_order(order, case["masked"]).repeat(unit, grid)

    encodings = []
    model.encoder.norm.register_forward_hook(lambda *call: encodings.append(call[-1].detach()))
    loss = model.loss(images, layout)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    tokens = encodings[0].reshape(2, -1, model.encoder.embed_dim)[:, model.encoder.num_prefix_tokens :].flatten()
    assert tokens[:: tokens.numel() // 61].tolist() == pytest.approx(case["encodings"], abs=1e-5)
    assert tokens.double().abs().sum().item() == pytest.approx(case["encodings_abs_sum"], rel=1e-6)
    pred = model.predict(images, layout).double()
    assert pred.sum().item() == pytest.approx(case["pred_sum"], rel=1e-5, abs=1e-5 * case["pred_abs_sum"])
    assert pred.abs().sum().item() == pytest.approx(case["pred_abs_sum"], rel=1e-5)
    ours = {
        "encoder.mask_token": model.mask_token.grad,
        "decoder.0.weight": model.head.weight.grad,
        "decoder.0.bias": model.head.bias.grad,
    }
    names = dict(model.named_parameters())
    for name, expected in case["grad_norms"].items():
        if name.endswith(("q_bias", "v_bias")):
            grad = names[name[:-6] + "qkv.bias"].grad.chunk(3)[0 if name.endswith("q_bias") else 2]
        elif name in ours:
            grad = ours[name]
        elif "rel_pos_bias" in name:  # there one table, here the same numbers in each block
            grad = sum(block.attn.relative_position_bias_table.grad for block in model.encoder.blocks)
        else:
            name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
            grad = names[re.sub(r"(\d)\.downsample", lambda found: f"{int(found[1]) + 1}.downsample", name)].grad
        assert grad.double().norm().item() == pytest.approx(expected, rel=1e-4), name


def test_initialisation_is_that_of_the_official_code():
    model = MODELS.build(dict(type="SimMIM", encoder=VIT))
    # Normal with 0.02, cut off at one deviation: 0.5396 of the deviation is left.
    for i, block in enumerate(model.encoder.blocks, start=1):
        for parameter, divisor in (
            (block.attn.qkv.weight, 1), (block.attn.proj.weight, math.sqrt(2 * i)),
            (block.mlp.fc1.weight, 1), (block.mlp.fc2.weight, math.sqrt(2 * i)),
        ):
            assert 0.99 < parameter.abs().max() * divisor / 0.02 <= 1.00001
            assert parameter.std().item() * divisor == pytest.approx(0.5396 * 0.02, rel=0.03)
        assert (block.ls1.gamma == 0.1).all() and (block.norm1.weight == 1).all() and (block.attn.qkv.bias == 0).all()
    stem = model.encoder.patch_embed.proj
    for parameter in (model.mask_token, model.encoder.cls_token, model.encoder.pos_embed, stem.weight):
        assert 0.015 < parameter.abs().max() <= 0.02
    assert (stem.bias == 0).all()
    swin = MODELS.build(dict(type="SimMIM", encoder=SWIN))
    assert swin.mask_token.shape == (1, 1, 16)
    qkv = swin.encoder.layers[3].blocks[0].attn.qkv.weight
    assert qkv.std().item() == pytest.approx(0.02, rel=0.03) and qkv.abs().max() > 0.05
