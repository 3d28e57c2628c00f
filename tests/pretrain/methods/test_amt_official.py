"""MAE under AMT against the official code: loss, prediction and gradients with thrown patches, and the attention map.

How `fixtures/amt_official.json` was made: MaskedAutoencoderViT of guijiejie/AMT's mae-AMT/models_mae.py with normalised
targets and LayerNorm's eps 1e-6, parameters, images and the drawing order as in the test, in epoch 41; the map by
update_mask of its util/misc.py from the attention of the last block.
"""
import json
from pathlib import Path

import pytest
import torch
from deterministic import fill, numbers

from mimtransfer.backbones.inspect import view_block
from mimtransfer.draws import SampleGenerator
from pretrain.layout import TokenLayout
from pretrain.masking.amt import AMTMasking
from pretrain.methods.mae import MAE

(OFFICIAL,) = json.loads((Path(__file__).parent / "fixtures" / "amt_official.json").read_text())["cases"]


@pytest.fixture(scope="module")
def model() -> MAE:
    sizes = {key: OFFICIAL[key] for key in ("embed_dim", "depth", "num_heads")}
    encoder = dict(type="TimmViT", arch="vit_base_patch16_224", img_size=OFFICIAL["img_size"],
                   patch_size=OFFICIAL["patch_size"], pos_embed="sincos", model_kwargs=sizes)
    decoder = {key: OFFICIAL[f"decoder_{key}"] for key in ("embed_dim", "depth", "num_heads")}
    found = MAE(encoder=encoder, decoder=decoder)
    fill(found, {"encoder.": "", "decoder.mask_token": "mask_token", "decoder.": "decoder_"})
    with torch.no_grad():  # attention far from uniform
        for block in found.encoder.blocks:
            block.attn.qkv.weight.mul_(6)
    return found


def images() -> torch.Tensor:
    return numbers("images", (2, 3, OFFICIAL["img_size"], OFFICIAL["img_size"]), 1.0)


def test_loss_prediction_and_gradients_equal_the_official_code(model):
    order = numbers("noise", (2, 196), 1.0).argsort(1)
    # 88 masked, 78 thrown, 30 visible: floors of 0.45 and 0.85 of 196.
    layout = TokenLayout.from_order(order, 88, 78)
    loss = model.loss(images(), layout)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(OFFICIAL["loss"], rel=2e-6)
    pred = model.predict(images(), layout).detach()
    pred = pred.gather(1, layout.masked.argsort(1)[:, :, None].expand_as(pred))  # raster order
    values = pred.flatten()
    assert values[:: values.numel() // 61].tolist() == pytest.approx(OFFICIAL["pred_masked"], abs=5e-6)
    assert values.double().abs().sum().item() == pytest.approx(OFFICIAL["pred_masked_abs_sum"], rel=1e-6)
    for name, expected in OFFICIAL["grad_norms"].items():
        ours = f"decoder.{name.removeprefix('decoder_')}" if name.startswith(("decoder_", "mask_token")) else name
        parameter = model.get_parameter(ours if ours.startswith("decoder.") else f"encoder.{ours}")
        assert parameter.grad.double().norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-8), name
    assert len(OFFICIAL["grad_norms"]) == sum(parameter.requires_grad for parameter in model.parameters())


@torch.inference_mode()
def test_the_map_equals_that_of_the_official_code(model):
    maps = AMTMasking().measure(view_block(model.encoder.eval(), images())).flatten()
    assert maps[:: maps.numel() // 97].tolist() == pytest.approx(OFFICIAL["map"], abs=2e-6)
    assert maps.double().sum().item() == pytest.approx(OFFICIAL["map_sum"], rel=1e-6)


def test_the_ratios_of_the_strategy_give_these_counts():
    strategy = AMTMasking(OFFICIAL["mask_ratio"], OFFICIAL["throw_ratio"])
    layout = strategy(torch.zeros(1, 3, 56, 56), None, (14, 14), SampleGenerator.from_seed(0, 1, "cpu"))
    assert [part.shape[1] for part in layout] == [30, 88, 78]
