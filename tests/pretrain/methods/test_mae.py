"""MAE against the official code, and what each role may and may not do.

How `fixtures/mae_official.json` was made: MaskedAutoencoderViT of facebookresearch/mae's models_mae.py with the sizes
of each case and LayerNorm's eps 1e-6, parameters, images and noise as in the test; loss, latents and predictions (every
n-th value, sums of absolute ones), norms of all gradients, position tables. The images of the case `flat` have so
little contrast that the eps of the target's variance counts.
"""
import json
from pathlib import Path

import pytest
import torch
from deterministic import fill, numbers

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout
from pretrain.methods.mae import MAE
from pretrain.patches import patch_statistics, patchify

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "mae_official.json").read_text())["cases"]
ENCODER = dict(
    type="TimmViT",
    arch="vit_tiny_patch16_224",
    img_size=32,
    patch_size=8,
    pos_embed="sincos",
    model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
)
DECODER = dict(embed_dim=32, depth=1, num_heads=4)


def build(**kwargs) -> MAE:
    torch.manual_seed(0)
    model = MODELS.build(dict(dict(type="MAE", encoder=ENCODER, decoder=DECODER), **kwargs))
    fill(model)
    return model


def random_layout(batch: int, num_patches: int, masked: int, thrown: int = 0) -> TokenLayout:
    order = torch.stack([torch.randperm(num_patches) for _ in range(batch)])
    return TokenLayout.from_order(order, masked, thrown)


def case_name(case: dict) -> str:
    return f"{case['name']}-norm_pix={case['norm_pix_loss']}-{case['mask_ratio']}"


@pytest.mark.parametrize("case", OFFICIAL, ids=case_name)
def test_loss_and_gradients_equal_the_official_code(case):
    encoder = dict(
        type="TimmViT",
        arch="vit_base_patch16_224",
        img_size=case["img_size"],
        patch_size=case["patch_size"],
        pos_embed="sincos",
        model_kwargs=dict(embed_dim=case["embed_dim"], depth=case["depth"], num_heads=case["num_heads"]),
    )
    decoder = {key: case[f"decoder_{key}"] for key in ("embed_dim", "depth", "num_heads")}
    model = MAE(encoder=encoder, decoder=decoder, norm_pix_loss=case["norm_pix_loss"])
    fill(model, {"encoder.": "", "decoder.mask_token": "mask_token", "decoder.": "decoder_"})
    size, num_patches = case["img_size"], (case["img_size"] // case["patch_size"]) ** 2
    images = numbers("images", (2, 3, size, size), 1.0) * case.get("contrast", 1.0)
    order = numbers("noise", (2, num_patches), 1.0).argsort(1)
    num_visible = int(num_patches * (1 - case["mask_ratio"]))
    layout = TokenLayout(order[:, :num_visible], order[:, num_visible:], order[:, :0])

    latents = []
    model.encoder.norm.register_forward_hook(lambda *call: latents.append(call[-1].detach()))
    loss = model.loss(images, layout)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=2e-6)
    check_values(latents[0], case, "latent")
    pred = model.predict(images, layout).detach()
    check_values(pred, case, "pred_masked")
    assert pred.double().sum().item() == pytest.approx(case["pred_masked_sum"], abs=1e-6 * case["pred_masked_abs_sum"])
    for name, expected in case["grad_norms"].items():
        ours = f"decoder.{name.removeprefix('decoder_')}" if name.startswith(("decoder_", "mask_token")) else name
        parameter = model.get_parameter(ours if ours.startswith("decoder.") else f"encoder.{ours}")
        assert parameter.grad.double().norm().item() == pytest.approx(expected, rel=2e-5, abs=1e-8), name
    assert len(case["grad_norms"]) == sum(parameter.requires_grad for parameter in model.parameters())
    if "positions" in case:
        # Frequencies in float64, rounded once: with those of float32 some values differ by 1e-6.
        for table, expected in ((model.encoder.pos_embed[:, 1:], case["positions"]),
                                (model.decoder.pos_embed, case["decoder_positions"])):
            values = table.flatten()[:: max(1, table.numel() // 61)]
            assert values.tolist() == pytest.approx(expected, abs=7e-8)


def check_values(found: torch.Tensor, case: dict, name: str) -> None:
    """Compare every n-th value and the sum of all absolute ones."""
    values = found.flatten()[:: max(1, found.numel() // 61)]
    assert values.tolist() == pytest.approx(case[name], abs=1e-5 if case["depth"] > 3 else 2e-6)
    assert found.double().abs().sum().item() == pytest.approx(case[f"{name}_abs_sum"], rel=2e-7)


def pixels_of(patch: int) -> tuple[slice, slice]:
    row, column = patch // 4 * 8, patch % 4 * 8
    return slice(row, row + 8), slice(column, column + 8)


def loss_and_gradients(
    model: MAE, images: torch.Tensor, layout: TokenLayout
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    loss = model.loss(images, layout)["loss"]
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_thrown_patches_change_nothing_and_the_others_do():
    model = build()
    images = torch.randn(1, 3, 32, 32)
    layout = random_layout(1, 16, masked=6, thrown=4)
    loss, gradients = loss_and_gradients(model, images, layout)
    for part, changes in zip(layout, (True, True, False)):
        rows, columns = pixels_of(int(part[0, 0]))
        other = images.clone()
        other[:, :, rows, columns] = torch.randn(1, 3, 8, 8)
        other_loss, other_gradients = loss_and_gradients(model, other, layout)
        assert torch.equal(other_loss, loss) != changes
        assert all(torch.equal(a, b) for a, b in zip(gradients, other_gradients)) != changes


def test_masked_pixels_do_not_reach_the_prediction():
    model = build()
    images = torch.randn(1, 3, 32, 32)
    layout = random_layout(1, 16, masked=12)
    pred = model.predict(images, layout)
    for patch in layout.masked[0].tolist():
        rows, columns = pixels_of(patch)
        images[:, :, rows, columns] = torch.randn(3, 8, 8)
    assert torch.equal(model.predict(images, layout), pred)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_masked_tokens_are_decoded_as_if_the_last_block_ran_on_all(depth):
    model = build(decoder=dict(DECODER, depth=depth)).double()
    layout = random_layout(2, 16, 9, 3)
    encoded = numbers("encoded", (2, 5, 48), 1.0).double().requires_grad_()

    def decode(whole: bool) -> list[torch.Tensor]:
        decoder = model.decoder
        if whole:
            tokens = decoder.embed(encoded)
            places = decoder.pos_embed[0]
            masked = decoder.mask_token + places[layout.masked]
            seen = tokens[:, 1:] + places[layout.visible]
            found = decoder.pred(decoder.norm(decoder.blocks(torch.cat([tokens[:, :1], seen, masked], 1))[:, 5:]))
        else:
            found = decoder(encoded, layout, (4, 4))
        inputs = [encoded, *decoder.parameters()]
        return [found, *torch.autograd.grad(found.square().sum(), inputs)]

    for one, other in zip(decode(whole=True), decode(whole=False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_visible_tokens_pass_no_mlp_of_the_last_block():
    model = build(decoder=dict(DECODER, depth=2))
    lengths = []
    for block in model.decoder.blocks:
        block.mlp.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    model.decoder(torch.zeros(2, 5, 48), random_layout(2, 16, 9, 3), (4, 4))
    assert lengths == [5 + 9, 9]


def test_order_inside_a_role_has_no_meaning():
    model = build()
    images = torch.randn(2, 3, 32, 32)
    layout = random_layout(2, 16, masked=9, thrown=2)
    shuffled = TokenLayout(*(part[:, torch.randperm(part.shape[1])] for part in layout))
    assert torch.allclose(model.loss(images, layout)["loss"], model.loss(images, shuffled)["loss"], rtol=1e-5)


def test_reconstruct_puts_predictions_back_unnormalised():
    model = build()
    images = torch.randn(2, 3, 32, 32)
    layout = random_layout(2, 16, masked=9, thrown=2)
    rows = patchify(model.reconstruct(images, layout).detach(), (8, 8))
    original = patchify(images, (8, 8))
    pred = model.predict(images, layout).detach()
    for b in range(2):
        assert torch.equal(rows[b, layout.visible[b]], original[b, layout.visible[b]])
        assert (rows[b, layout.thrown[b]] == 0).all()
        mean, deviation = patch_statistics(original[b, layout.masked[b]])
        assert torch.allclose(rows[b, layout.masked[b]], pred[b] * deviation + mean, atol=1e-5)


def test_forward_uses_the_record_and_accepts_non_square_images():
    from pretrain.aug_record import AugRecord

    model = build()
    images = torch.randn(2, 3, 16, 48)
    boxes = torch.tensor([[0.0, 0, 1, 1]] * 2)
    record = AugRecord(torch.tensor([0, 1]), torch.tensor([11, 12]), boxes, torch.tensor([False] * 2))
    loss = model(images, record)["loss"]
    assert torch.equal(model(images, record)["loss"], loss)
    other = record._replace(seed=record.seed + 1)
    assert not torch.equal(model(images, other)["loss"], loss)
    layout, restored = model(images, record, mode="predict")
    assert restored.shape == images.shape and layout.masked.shape == (2, 9)


def test_bf16_autocast_computes_the_loss_in_float32():
    model = build()
    images, layout = torch.randn(2, 3, 32, 32), random_layout(2, 16, masked=12)
    exact = model.loss(images, layout)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(images, layout)["loss"]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=2e-2)


def test_initialisation_is_that_of_the_official_code():
    model = MODELS.build(dict(type="MAE", encoder=ENCODER, decoder=DECODER))
    weight = model.encoder.patch_embed.proj.weight
    bound = (6 / (48 + 3 * 8 * 8)) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    qkv = model.encoder.blocks[0].attn.qkv.weight
    assert 0.95 < qkv.abs().max() / (6 / (48 + 144)) ** 0.5 <= 1
    assert model.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.5)
    assert not model.encoder.pos_embed.requires_grad


@pytest.mark.parametrize("size", [(33, 32), (32, 12)])
def test_images_that_patches_do_not_tile_are_refused(size):
    with pytest.raises(UserError, match=f"images of {size[0]} x {size[1]} pixels and patches of 8 x 8"):
        build()(torch.randn(1, 3, *size))


def test_nothing_to_predict_is_refused():
    model = build(strategy=dict(type="RandomMasking", mask_ratio=0.0))
    with pytest.raises(UserError, match="nothing to predict"):
        model(torch.randn(1, 3, 32, 32))


def test_a_reconstruction_without_masked_patches_is_the_picture():
    images = torch.randn(2, 3, 32, 32)
    restored = build().reconstruct(images, random_layout(2, 16, masked=0))
    assert torch.equal(restored, images)


def test_an_encoder_that_needs_every_patch_is_refused():
    with pytest.raises(UserError, match="which TimmSwin cannot; choose TimmViT, or a method that hides no patch"):
        MODELS.build(dict(type="MAE", encoder=dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=64)))
