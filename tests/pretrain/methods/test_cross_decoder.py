"""MAE with the cross-attention decoder: against the official code, what a query sees, which patches are predicted.

How `fixtures/crossmae_official.json` was made: MaskedAutoencoderViT of TonyLianLong/CrossMAE's models_cross.py
(ed0677a) with the sizes of each case and LayerNorm's eps 1e-6, with `weight_fm` and `use_input` or without both;
parameters, images and noise as in the test; loss, predictions (every n-th value, the sum of absolute ones), predicted
patches, norms of all gradients. Without `weight_fm` the code calls an encoder norm that it does not make: it was given
one.
"""
import json
from pathlib import Path

import pytest
import torch
from deterministic import fill, numbers

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.recorded_config import build_recorded
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.methods.mae import MAE
from pretrain.patches import patchify

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "crossmae_official.json").read_text())["cases"]
ENCODER = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
               model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
DECODER = dict(type="CrossDecoder", embed_dim=32, depth=2, num_heads=4)
RANDOM_9_3 = dict(type="RandomMasking", mask_ratio=0.6, throw_ratio=0.2)  # of 16 patches 9 masked, 3 thrown, 4 visible
BOTH = pytest.mark.parametrize("weighted", [True, False])


def build(strategy=RANDOM_9_3, encoder=ENCODER, **decoder) -> MAE:
    torch.manual_seed(0)
    model = MODELS.build(dict(type="MAE", encoder=encoder, decoder=dict(DECODER, **decoder), strategy=strategy))
    fill(model)
    return model


def record_of(seeds: torch.Tensor) -> AugRecord:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(seeds), 1)
    return AugRecord(torch.arange(len(seeds)), seeds, boxes, torch.zeros(len(seeds), dtype=torch.bool))


def official_names(depth: int) -> dict[str, str]:
    attention = {f"decoder.blocks.{i}.{name}.": f"decoder_blocks.{i}.cross_attn.{name}."
                 for i in range(depth) for name in ("q", "kv", "proj")}
    return {**attention, "decoder.blocks.": "decoder_blocks.", "decoder.norm.": "decoder_norm.",
            "decoder.pred.": "decoder_pred.", "decoder.mask_token": "mask_token",
            "decoder.features.weights.": "wfm.linear.", "decoder.features.norms.": "dec_norms.", "encoder.": ""}


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_loss_predictions_and_gradients_equal_the_official_code(case):
    sizes = {key: case[key] for key in ("embed_dim", "depth", "num_heads")}
    encoder = dict(ENCODER, img_size=case["img_size"], patch_size=case["patch_size"], model_kwargs=sizes)
    decoder = {key: case[f"decoder_{key}"] for key in sizes}
    model = MAE(encoder=encoder, norm_pix_loss=case["norm_pix_loss"],
                decoder=dict(type="CrossDecoder", weighted_features=case["weighted_features"], **decoder))
    names = official_names(case["decoder_depth"])
    fill(model, names)
    images = numbers("images", (2, 3, case["img_size"], case["img_size"]), 1.0)
    order = numbers("noise", (2, 16), 1.0).argsort(1)
    num_visible, predicted = int(16 * (1 - case["mask_ratio"])), torch.tensor(case["predicted"])
    thrown = order[:, num_visible : 16 - predicted.shape[1]]
    layout = TokenLayout(order[:, :num_visible], predicted, thrown)

    loss = model.loss(images, layout)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=2e-6)
    pred = model.predict(images, layout).detach()
    assert pred.flatten()[:: max(1, pred.numel() // 61)].tolist() == pytest.approx(case["pred"], rel=1e-5, abs=2e-6)
    assert pred.double().abs().sum().item() == pytest.approx(case["pred_abs_sum"], rel=1e-6)
    norms = {}
    for name, parameter in model.named_parameters():
        prefix = next((prefix for prefix in names if name.startswith(prefix)), "")
        if parameter.requires_grad:
            norms[names[prefix] + name.removeprefix(prefix)] = parameter.grad.double().norm().item()
    assert norms == pytest.approx(case["grad_norms"], rel=1e-5, abs=1e-8)


@BOTH
def test_no_pixel_of_a_hidden_patch_reaches_a_prediction(weighted):
    model = build(weighted_features=weighted)
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    layout = model.draw_layout(images, None)
    for b in range(2):
        (gradient,) = torch.autograd.grad(model.predict(images, layout)[b].square().sum(), images)
        rows = patchify(gradient, (8, 8)).abs().sum(2)
        assert (rows[b, layout.visible[b]] > 0).all()
        assert not rows[b, layout.masked[b]].any() and not rows[b, layout.thrown[b]].any() and not rows[1 - b].any()


@BOTH
def test_a_prediction_is_the_same_whatever_else_is_predicted(weighted):
    model = build(weighted_features=weighted)
    images = torch.randn(2, 3, 32, 32)
    layout = model.draw_layout(images, None)
    whole = model.predict(images, layout)
    shuffled = torch.randperm(9)[:4]
    some = model.predict(images, layout._replace(masked=layout.masked[:, shuffled]))
    torch.testing.assert_close(some, whole[:, shuffled], rtol=1e-5, atol=1e-6)


@BOTH
def test_every_parameter_is_trained_but_a_norm_that_nothing_passes(weighted):
    model = build(weighted_features=weighted, predict_ratio=0.25)
    model(torch.randn(2, 3, 32, 32))["loss"].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained
    assert ("encoder.norm.weight" in trained) != weighted and "encoder.norm.weight" in model.state_dict()


def test_a_share_of_all_patches_is_predicted_and_the_rest_is_thrown():
    whole, model = build(), build(predict_ratio=0.25)
    images, record = torch.randn(3, 3, 32, 32), record_of(torch.tensor([5, 6, 5]))
    drawn, layout = whole.draw_layout(images, record), model.draw_layout(images, record)
    assert [part.shape[1] for part in layout] == [4, 4, 8]
    assert torch.equal(layout.visible, drawn.visible) and torch.equal(layout.masked[0], layout.masked[2])
    for b in range(3):
        assert set(layout.masked[b].tolist()) < set(drawn.masked[b].tolist())
        assert sorted(torch.cat([part[b] for part in layout]).tolist()) == list(range(16))
    other = model.draw_layout(images, record_of(torch.tensor([7, 8, 9])))
    assert not torch.equal(other.masked, layout.masked)


def test_every_masked_patch_is_as_likely_to_be_predicted():
    """Also the first of the strategy's order, which are the heaviest; 5 standard deviations of a binomial."""
    whole, model = build(), build(predict_ratio=0.25)
    images, record = torch.zeros(4000, 3, 32, 32), record_of(torch.arange(4000))
    masked, predicted = whole.draw_layout(images, record).masked, model.draw_layout(images, record).masked
    by_rank = (masked[:, :, None] == predicted[:, None]).any(2).float().mean(0)  # [9]
    assert (by_rank - 4 / 9).abs().max() < 5 * (4 / 9 * 5 / 9 / 4000) ** 0.5
    by_patch = torch.zeros(4000, 16).scatter_(1, predicted, 1.0).mean(0)
    assert (by_patch - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
    # With the numbers of the strategy again, a patch 0 that is masked first would be predicted last.
    first = (predicted[masked[:, 0] == 0] == 0).any(1).float()
    assert (first.mean() - 4 / 9).abs() < 5 * (4 / 9 * 5 / 9 / len(first)) ** 0.5


def test_of_several_masks_each_has_its_own_predicted_patches():
    model, images, record = build(predict_ratio=0.25), torch.randn(2, 3, 32, 32), record_of(torch.tensor([5, 6]))
    layout, single = model.draw_layout(images, record, 3), model.draw_layout(images, record)
    assert torch.equal(layout.masked[::3], single.masked) and layout.masked.shape == (6, 4)
    losses = [model.loss(images, TokenLayout(*(part[k::3] for part in layout)))["loss"] for k in range(3)]
    torch.testing.assert_close(model.loss(images, layout)["loss"], torch.stack(losses).mean())


def test_coarse_cells_mask_fewer_patches_than_are_asked_for():
    """5 x 5 cells of 2 x 2 patches: 18 cells masked, 72 patches, where 75 % are 75."""
    encoder = dict(ENCODER, img_size=40, patch_size=4)
    model = build(dict(type="RandomMasking", mask_ratio=0.75, unit=2), encoder, predict_ratio=0.75)
    assert [part.shape[1] for part in model.draw_layout(torch.zeros(1, 3, 40, 40), None)] == [28, 72, 0]


def test_pictures_show_unpredicted_patches_as_thrown():
    model = build(predict_ratio=0.25)
    images = torch.randn(2, 3, 32, 32)
    layout, restored = model(images, mode="predict")
    rows, original = patchify(restored, (8, 8)), patchify(images, (8, 8))
    for b in range(2):
        assert torch.equal(rows[b, layout.visible[b]], original[b, layout.visible[b]])
        assert not rows[b, layout.thrown[b]].any() and layout.thrown.shape == (2, 8)
        assert (rows[b, layout.masked[b]] != original[b, layout.masked[b]]).all()


def test_other_image_shapes_and_bf16():
    model = build(predict_ratio=0.25)
    images = torch.randn(2, 3, 16, 48)
    exact = model(images)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(images)["loss"]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=2e-2)


def test_block_outputs_are_those_that_encode_passes():
    model = build(encoder=dict(ENCODER, rel_pos="bias")).encoder
    tokens, patches = torch.randn(2, 5, 48), torch.stack([torch.randperm(16)[:5] for _ in range(2)])
    seen = model.encode_blocks(tokens, (4, 4), patches)
    assert len(seen) == 3 and all(x.shape == (2, 6, 48) for x in seen) and torch.equal(seen[0][:, 1:], tokens)
    assert torch.equal(model.norm(seen[-1]), model.encode(tokens, (4, 4), patches))
    windows = TimmViT(**{key: value for key, value in ENCODER.items() if key != "type"}, window_size=2)
    with pytest.raises(UserError, match="window_size"):
        windows.encode_blocks(tokens)


def test_initialisation_is_that_of_the_official_code():
    model = MODELS.build(dict(type="MAE", encoder=ENCODER, decoder=dict(DECODER, depth=12)))
    weights = model.decoder.features.weights.weight
    assert weights.shape == (12, 3) and 0.8 < weights.abs().max() / (6 / 15) ** 0.5 <= 1
    assert model.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.5)
    assert not model.decoder.blocks[0].kv.bias.any() and model.decoder.blocks[0].norm1.eps == 1e-6


@pytest.mark.parametrize(("decoder", "message"), [
    (dict(predict_ratio=0.65), "predict_ratio=0.65 of the decoder and mask_ratio=0.6"),
    (dict(predict_ratio=0.0), r"predict_ratio=0.0; expected a share of all patches in \(0, 1\]"),
    (dict(num_heads=5), "embed_dim=32 and num_heads=5"),
])  # fmt: skip
def test_what_cannot_be_is_refused(decoder, message):
    with pytest.raises(UserError, match=message):
        build(**decoder)


def test_too_small_a_share_is_refused():
    with pytest.raises(UserError, match=r"nothing to predict, got mask_ratio=0\.6 and predict_ratio=0\.05"):
        build(predict_ratio=0.05)(torch.randn(1, 3, 32, 32))


def test_a_checkpoint_may_name_a_decoder_and_no_other_class_in_its_place():
    config = dict(type="MAE", encoder=ENCODER, decoder=dict(DECODER, predict_ratio=0.25))
    assert build_recorded(MODELS, config, "x.pth").decoder.predict_ratio == 0.25
    with pytest.raises(UserError, match=r"x\.pth: config\.decoder names 'TimmCNN', which a file may not build"):
        build_recorded(MODELS, dict(config, decoder=dict(type="TimmCNN", arch="resnet10t")), "x.pth")
