"""MaPeT and BEiT against the official codes, and how they start.

How `fixtures/mapet_official.json` was made: XLeiTPositionalAugmented of aimagelab/MaPeT's models/mapet/mapet.py with
the sizes of each case, every parameter filled by `official`, permutations of `numbers("order")` after the class token,
masks of its attention_mask_full_mapet_1, in training mode; loss and logits as in its engine.py. It predicts in raster
order. `fixtures/beit_official.json`: VisionTransformerForMaskedImageModeling of microsoft/unilm's
beit2/modeling_pretrain.py with absolute positions or, with `shared_bias`, a relative position bias that all blocks
share, likewise; and every n-th value of its encoder's output [B, L, D].
"""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from brightness_tokenizer import BrightnessTokenizer  # noqa: F401  registers it
from deterministic import numbers
from mapet_in_float_masks import float_masks, predict
from torch import Tensor

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout
from pretrain.methods.token_prediction import Targets, TokenPrediction
from pretrain.methods.two_stream import two_stream_mask

FIXTURES = Path(__file__).parent / "fixtures"
MAPET = json.loads((FIXTURES / "mapet_official.json").read_text())["cases"]
BEIT = json.loads((FIXTURES / "beit_official.json").read_text())["cases"]
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def official(name: str, shape: list[int]) -> Tensor:
    """Make a tensor of the official model: 0.15 times normal numbers, in a shared bias 1 times, and 1 added to the
    weights of norms and layer scale.
    """
    is_scale = "gamma" in name or ("norm" in name and name.endswith("weight"))
    return numbers(name, tuple(shape), 1.0 if "rel_pos_bias" in name else 0.15) + is_scale


def encoder_of(case: dict) -> dict:
    size = case["img_size"]
    return dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=tuple(size) if isinstance(size, list) else size,
        patch_size=case["patch_size"],
        layer_scale=case["layer_scale"],
        **(dict(rel_pos="bias", pos_embed="none") if "shared_bias" in case else {}),
        model_kwargs={key: case[key] for key in ("embed_dim", "depth", "num_heads")},
    )


def build(method: str, case: dict) -> tuple[TokenPrediction, dict[str, Tensor]]:
    """Return our method with the official weights, and those by the official names."""
    tokenizer = dict(type="BrightnessTokenizer", num_codes=case["num_codes"], patch_size=case["patch_size"])
    model = MODELS.build(
        dict(type=method, encoder=encoder_of(case), tokenizer=tokenizer, data_preprocessor=PREPROCESSOR)
    )
    state = {name: official(name, shape) for name, shape in case["shapes"].items()}
    named = state if method == "MaPeT" else {f"encoder.{name}": value for name, value in state.items()}
    left = model.encoder.load_state_dict(read_format(named).encoder, strict=False)
    assert not left.missing_keys and all(name.startswith("lm_head") for name in left.unexpected_keys)
    token, head = ("mask_positional_token", "decoder") if method == "MaPeT" else ("mask_token", "lm_head")
    with torch.no_grad():
        model.mask_token.copy_(state[token])
        model.head.load_state_dict({part: state[f"{head}.{part}"] for part in ("weight", "bias")})
    return model.train(), state


def batch_of(model: TokenPrediction, num_codes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images, the order of the patches and their codes that the fixtures have."""
    (h, w), p = model.encoder.grid_size, model.encoder.patch_size[0]
    ids = torch.from_numpy(np.random.RandomState(7).randint(0, num_codes, (2, h * w)))
    return numbers("images", (2, 3, h * p, w * p), 1.0), numbers("order", (2, h * w), 1.0).argsort(1), ids


def check(model: TokenPrediction, case: dict, images: Tensor, drawn: Targets, transposed: bool) -> dict[str, Tensor]:
    """Compare logits and loss; return the gradients by our names."""
    with torch.no_grad():
        logits = model.predict(images, drawn.layout)
    logits = logits.gather(1, drawn.layout.masked.argsort(1)[:, :, None].expand_as(logits))  # raster order
    values = (logits.transpose(1, 2) if transposed else logits).flatten()
    assert values[:: max(1, values.numel() // 61)].tolist() == pytest.approx(case["logits"], abs=2e-5)
    assert values.double().abs().sum().item() == pytest.approx(case["logits_abs_sum"], rel=1e-6)
    loss = model.loss(images, drawn)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-6)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("case", MAPET, ids=lambda case: case["name"])
def test_mapet_equals_the_official_code(case):
    model, _ = build("MaPeT", case)
    images, order, ids = batch_of(model, case["num_codes"])
    # Its least number counts the class token.
    context = case["least_number"] - 1
    layout = TokenLayout(order[:, :context], order[:, context:], order[:, :0])
    mask = two_stream_mask(1 + context, layout.masked.shape[1])
    heads = 2 * case["num_heads"]  # there for each head of two images
    queries = layout.masked.shape[1]
    assert [int(part.sum()) * heads for part in (mask[-queries:], mask[:-queries])] == case["mask_sums"]
    grads = check(model, case, images, Targets(layout, ids), transposed=True)
    for name, expected in case["grad_norms"].items():
        if ".attn.q." in name or ".attn.kv." in name:
            width = case["embed_dim"]
            grad = grads["encoder." + name.replace(".q.", ".qkv.").replace(".kv.", ".qkv.")]
            grad = grad[:width] if ".attn.q." in name else grad[width:]
        elif name == "mask_positional_token":
            grad = grads["mask_token"]
        else:
            grad = grads[name.replace("decoder.", "head.") if name.startswith("decoder.") else f"encoder.{name}"]
        assert grad.double().norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("case", BEIT, ids=lambda case: case["name"])
def test_beit_equals_the_official_code(case):
    model, _ = build("BEiT", case)
    images, order, ids = batch_of(model, case["num_codes"])
    layout = TokenLayout.from_order(order, case["masked"])
    encodings = []
    model.encoder.norm.register_forward_hook(lambda *call: encodings.append(call[-1].detach()))
    grads = check(model, case, images, Targets(layout, ids), transposed=False)
    tokens = encodings[0][:, 1:].flatten()
    assert tokens[:: tokens.numel() // 61].tolist() == pytest.approx(case["encodings"], abs=1e-5)
    assert tokens.double().abs().sum().item() == pytest.approx(case["encodings_abs_sum"], rel=1e-6)
    for name, expected in case["grad_norms"].items():
        if name.endswith(("q_bias", "v_bias")):
            grad = grads["encoder." + name.replace("q_bias", "qkv.bias").replace("v_bias", "qkv.bias")]
            grad = grad.chunk(3)[0 if name.endswith("q_bias") else 2]
        elif name == "mask_token":
            grad = grads[name]
        elif "rel_pos_bias" in name:  # there one table, here the same numbers in each block
            tables = [f"encoder.blocks.{i}.attn.relative_position_bias_table" for i in range(case["depth"])]
            grad = sum(grads[table] for table in tables)
        elif name.startswith("lm_head"):
            grad = grads[name.replace("lm_head", "head")]
        else:
            grad = grads["encoder." + name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")]
        assert grad.double().norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-7), name


def test_official_files_of_mapet_load_wholly(tmp_path):
    model, state = build("MaPeT", MAPET[0])
    torch.save({"state_dict": state}, tmp_path / "official.pth")
    encoder = TimmViT(**{key: value for key, value in encoder_of(MAPET[0]).items() if key != "type"})
    report = load_backbone(encoder, tmp_path / "official.pth")
    assert report.source == "official MaPeT" and not report.expected_missing and not report.resized
    assert set(report.unexpected) == {"mask_positional_token", "decoder.weight", "decoder.bias"}
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[name]), name


def test_initialisation_is_that_of_the_official_codes():
    torch.manual_seed(0)
    tokenizer = dict(type="BrightnessTokenizer", num_codes=256)
    models = {
        name: MODELS.build(
            dict(type=name, encoder=encoder_of(MAPET[0]), tokenizer=tokenizer, data_preprocessor=PREPROCESSOR)
        )
        for name in ("MaPeT", "BEiT")
    }
    # Normal with 0.02; BEiT's cut off at one deviation, where 0.5396 of it is left, and divided by the depth.
    for name, deviation in (("MaPeT", 0.02), ("BEiT", 0.5396 * 0.02)):
        encoder, head = models[name].encoder, models[name].head
        for i, block in enumerate(encoder.blocks, start=1):
            depth = (2 * i) ** 0.5 if name == "BEiT" else 1
            assert block.attn.qkv.weight.std().item() == pytest.approx(deviation, rel=0.03)
            assert block.mlp.fc2.weight.std().item() * depth == pytest.approx(deviation, rel=0.03)
            assert (block.attn.qkv.bias == 0).all() and (block.ls1.gamma == 0.1).all()
        assert head.weight.std().item() == pytest.approx(deviation, rel=0.03) and (head.bias == 0).all()
        assert encoder.pos_embed.std().item() == pytest.approx(deviation, rel=0.1)
        assert models[name].mask_token.std().item() == pytest.approx(deviation, rel=0.3)
    # The class token of MaPeT begins at almost nothing, its patch projection as PyTorch does.
    assert models["MaPeT"].encoder.cls_token.abs().max() < 1e-5 < models["BEiT"].encoder.cls_token.abs().max() <= 0.02
    assert 0.95 < models["MaPeT"].encoder.patch_embed.proj.weight.abs().max() * (3 * 8 * 8) ** 0.5 <= 1


def test_the_step_that_benchmarks_compare_with_computes_the_same():
    model, _ = build("MaPeT", MAPET[0])
    images, order, _ = batch_of(model, 64)
    layout = TokenLayout(order[:, :4], order[:, 4:], order[:, :0])
    masks = [torch.stack(parts) for parts in zip(*(float_masks(row, 4, 3) for row in order))]
    with torch.no_grad():
        ours = model.predict(images, layout).gather(1, layout.masked.argsort(1)[:, :, None].expand(-1, -1, 64))
        assert torch.allclose(predict(model.encoder, model.mask_token, model.head, images, masks), ours, atol=1e-5)
