"""MaPeT and BEiT: what each role may and may not do, codes, pictures, mistakes."""
import math

import pytest
import torch
from brightness_tokenizer import BrightnessTokenizer
from deterministic import fill
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.methods.token_prediction import Targets, TokenPrediction
from pretrain.patches import patchify
from pretrain.pictures import picture_columns

MASKINGS.get("RandomMasking")  # imports them all
STRATEGIES = sorted(MASKINGS.module_dict)
VIT = dict(
    type="TimmViT",
    arch="vit_tiny_patch16_224",
    img_size=32,
    patch_size=8,
    layer_scale=0.5,
    model_kwargs=dict(embed_dim=48, depth=3, num_heads=3),
)
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
METHODS = [("MaPeT", {}), ("MaPeT", dict(auxiliary=False)), ("BEiT", {})]
IDS = ["mapet", "permuted", "beit"]


def build(method: str = "MaPeT", tokenizer: dict | None = None, encoder: dict = VIT, **kwargs) -> TokenPrediction:
    torch.manual_seed(0)
    tokenizer = dict(type="BrightnessTokenizer", **(tokenizer or {}))
    options = dict(type=method, encoder=encoder, tokenizer=tokenizer, data_preprocessor=PREPROCESSOR)
    model = MODELS.build(options | kwargs)
    fill(model)
    with torch.no_grad():  # attention far from uniform
        for block in model.encoder.blocks:
            block.attn.qkv.weight.mul_(6)
    return model


def random_layout(batch: int, num_patches: int, masked: int, thrown: int = 0) -> TokenLayout:
    order = torch.stack([torch.randperm(num_patches) for _ in range(batch)])
    return TokenLayout.from_order(order, masked, thrown)


def other_pixels(images: Tensor, patches: list[int]) -> Tensor:
    images, columns = images.clone(), images.shape[-1] // 8
    for patch in patches:
        row, column = patch // columns * 8, patch % columns * 8
        images[:, :, row : row + 8, column : column + 8] = torch.randn(len(images), 3, 8, 8)
    return images


@pytest.mark.parametrize("method, options", METHODS, ids=IDS)
def test_gradients_reach_context_and_earlier_patches_only(method, options):
    model, layout = build(method, **options), random_layout(1, 16, masked=9, thrown=3)
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    logits = model.predict(images, layout)
    seen = layout.visible[0].tolist()
    for rank, patch in enumerate(layout.masked[0].tolist()):
        weight = torch.randn(logits.shape[-1])
        (gradient,) = torch.autograd.grad((logits[0, rank] * weight).sum(), images, retain_graph=True)
        reached = patchify(gradient, (8, 8))[0].abs().amax(1).nonzero().flatten().tolist()
        assert reached == sorted(seen)
        if method == "MaPeT":
            seen.append(patch)


@pytest.mark.parametrize("options", [{}, dict(auxiliary=False)], ids=IDS[:2])
def test_a_prediction_moves_with_earlier_patches_and_with_nothing_else(options):
    model, images, layout = build(**options), torch.randn(1, 3, 32, 32), random_layout(1, 16, masked=9, thrown=3)
    with torch.no_grad():
        logits, masked = model.predict(images, layout), layout.masked[0].tolist()
        for rank, patch in enumerate(masked):
            moved = (model.predict(other_pixels(images, [patch]), layout) - logits).abs().amax(2)[0]
            assert (moved[: rank + 1] == 0).all() and (moved[rank + 1 :] > 1e-4).all()
        thrown = other_pixels(images, layout.thrown[0].tolist())
        assert torch.equal(model.predict(thrown, layout), logits)
        visible = other_pixels(images, layout.visible[0, :1].tolist())
        assert ((model.predict(visible, layout) - logits).abs().amax(2) > 1e-4).all()


def test_the_first_prediction_is_that_of_beit_and_order_matters_for_the_others():
    mapet, beit = build("MaPeT"), build("BEiT")
    beit.load_state_dict(mapet.state_dict())
    images, layout = torch.randn(2, 3, 16, 48), random_layout(2, 12, masked=7)
    with torch.no_grad():
        ours, masked = mapet.predict(images, layout), beit.predict(images, layout)
        assert torch.allclose(ours[:, 0], masked[:, 0], atol=1e-5)
        turned = TokenLayout(layout.visible.flip(1), layout.masked.flip(1), layout.thrown)
        assert torch.allclose(beit.predict(images, turned).flip(1), masked, atol=1e-5)
        assert torch.allclose(mapet.predict(images, turned)[:, 0], masked[:, -1], atol=1e-5)
        assert (mapet.predict(images, turned).flip(1) - ours).abs().amax(2).min() > 1e-3


@pytest.mark.parametrize("method, options", METHODS, ids=IDS)
def test_loss_is_the_cross_entropy_of_the_codes_of_masked_patches(method, options):
    model, images, layout = build(method, **options), torch.randn(2, 3, 16, 40), random_layout(2, 10, 4, 3)
    ids = torch.randint(16, (2, 10))
    logits, losses, right = model.predict(images, layout).double(), [], 0
    for b in range(2):
        for rank, patch in enumerate(layout.masked[b].tolist()):
            scores = logits[b, rank].tolist()
            losses.append(math.log(sum(map(math.exp, scores))) - scores[ids[b, patch]])
            right += scores.index(max(scores)) == ids[b, patch]
    found = model.loss(images, Targets(layout, ids))
    assert found["loss"].item() == pytest.approx(math.fsum(losses) / 8, rel=1e-5)
    assert found["accuracy"].item() == pytest.approx(right / 8)


def test_codes_are_those_of_the_very_pixels_that_the_model_sees():
    model = build(tokenizer=dict(num_codes=64))
    pixels = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    images = model.data_preprocessor(dict(inputs=pixels))["inputs"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawn = model.draw_layout(images, None)
    for b in range(3):
        for patch in range(12):
            row, column = patch // 4 * 8, patch % 4 * 8
            brightness = pixels[b, :, row : row + 8, column : column + 8].double().mean().item() / 255
            assert drawn.ids[b, patch] == int(brightness * 64)


@pytest.mark.parametrize("method, options", METHODS, ids=IDS)
def test_a_checkpoint_holds_encoder_mask_token_and_head_only(method, options):
    model = build(method, **options)
    own = {name for name in model.state_dict() if not name.startswith("encoder.")}
    assert own == {"mask_token", "head.weight", "head.bias"}
    assert {name for name, _ in model.named_parameters()} == set(model.state_dict())
    plain = MODELS.build(VIT).state_dict()
    assert {name for name in model.state_dict() if name.startswith("encoder.")} == {f"encoder.{name}" for name in plain}


@pytest.mark.parametrize("method, options", METHODS, ids=IDS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_trains_a_step(name, method, options):
    model = build(method, strategy=dict(type=name, mask_ratio=0.5, throw_ratio=0.2), **options)
    images = torch.randn(2, 3, 32, 32)
    box = torch.tensor([[0.0, 0, 1, 1]] * 2)
    record = AugRecord(torch.tensor([0, 1]), torch.tensor([11, 12]), box, torch.tensor([False] * 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = model(images, record)["loss"]
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.mask_token.grad.abs().sum() > 0 and model.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    optimizer.step()
    assert model(images, record)["loss"] < before


@pytest.mark.parametrize("method, options", METHODS, ids=IDS)
@pytest.mark.parametrize("masked, thrown", [(1, 0), (1, 14), (5, 4), (15, 0), (11, 2)])
def test_any_ratio(method, options, masked, thrown):
    model, layout = build(method, **options), random_layout(2, 16, masked, thrown)
    assert model.predict(torch.randn(2, 3, 32, 32), layout).shape == (2, masked, 16)


def test_bf16_autocast_computes_the_loss_in_float32():
    for method, options in METHODS:
        model, images = build(method, **options), torch.randn(2, 3, 32, 32)
        drawn = Targets(random_layout(2, 16, masked=10), torch.randint(16, (2, 16)))
        exact = model.loss(images, drawn)["loss"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(images, drawn)["loss"]
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=2e-2)


def test_default_strategies_mask_the_published_counts():
    for method, masked in (("MaPeT", 147), ("BEiT", 75)):
        model = MODELS.build(dict(
            type=method, encoder=dict(VIT, img_size=112), tokenizer=dict(type="BrightnessTokenizer"),
            data_preprocessor=PREPROCESSOR,
        ))
        layout, ids = model.draw_layout(torch.zeros(1, 3, 112, 112), None)
        assert layout.masked.shape[1] == masked and ids.shape == (1, 196)


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_show_predicted_codes_in_place_of_masked_patches(pictures):
    strategy = dict(type="RandomMasking", mask_ratio=0.5, throw_ratio=0.25)
    model = build(tokenizer=dict(pictures=pictures), strategy=strategy).eval()
    images = model.data_preprocessor(dict(inputs=torch.randint(0, 256, (2, 3, 16, 48), dtype=torch.uint8)))["inputs"]
    with torch.no_grad():
        drawn, restored = model(images, mode="predict")
        predicted = model.predict(images, drawn.layout).argmax(2)
        columns, _ = picture_columns(model, images, None)
    layout, original = drawn.layout, patchify(images, (8, 8))
    rows = patchify(restored, (8, 8))
    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    shown = patchify(restored * std + mean, (8, 8)).unflatten(2, (64, 3)).transpose(2, 3)  # [B, L, 3, pixels], 0 to 255
    for b in range(2):
        assert torch.equal(rows[b, layout.visible[b]], original[b, layout.visible[b]])
        assert (rows[b, layout.thrown[b]] == 0).all()
        painted = shown[b, layout.masked[b]]
        assert torch.allclose(painted, painted[:, :, :1].expand_as(painted), atol=1e-2)  # one colour
        if pictures:
            grey = 255 * (predicted[b] + 0.5) / 16
            assert torch.allclose(painted[:, :, 0], grey[:, None].expand(-1, 3), atol=1e-2)
        else:  # one colour for each code
            colours = [tuple(colour) for colour in painted[:, :, 0].round().int().tolist()]
            assert len(set(zip(colours, predicted[b].tolist()))) == len(set(colours)) == len(set(predicted[b].tolist()))
    assert list(columns) == ["image", "codes", "roles", "reconstruction"]
    codes = columns["codes"].unflatten(2, (2, 8)).unflatten(4, (6, 8))
    assert (codes == codes[:, :, :, :1, :, :1]).all() and codes.shape == (2, 3, 2, 8, 6, 8)


def test_mistakes_give_one_line():
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(UserError, match=r"^MaPeT: got 0 predicted and 16 visible patches with mask_ratio=0\.01"):
        build(strategy=dict(type="RandomMasking", mask_ratio=0.01))(images)

    class All(MASKINGS.get("RandomMasking")):
        def counts(self, num_cells):
            return super().counts(num_cells)._replace(visible=0, masked=num_cells)

    model = build("BEiT")
    model.strategy = All()
    with pytest.raises(UserError, match=r"^BEiT: got 16 predicted and 0 visible patches"):
        model(images)
    with pytest.raises(UserError, match="num_codes=8192 for the head, but BrightnessTokenizer has a codebook of 16"):
        build(num_codes=8192)
    with pytest.raises(UserError, match="got 2 x 2 codes from BrightnessTokenizer for a grid of 4 x 4 patches"):
        build(tokenizer=dict(patch_size=16))(images)
    with pytest.raises(UserError, match="BEiT: got encoder TimmSwin, expected TimmViT"):
        build("BEiT", encoder=dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224"))
    with pytest.raises(UserError, match="without mean and std"):
        build(data_preprocessor=None)
    with pytest.raises(UserError, match="not timm's plain ones"):
        build(encoder=dict(VIT, rel_pos="bias"))
    assert build(num_codes=16).tokenizer.num_codes == 16
    assert isinstance(build().tokenizer, BrightnessTokenizer)
