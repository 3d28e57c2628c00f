"""`masks_per_image`: a step with K layouts is the mean of K single ones, and the image is embedded once."""
import pytest
import torch
from compile_toys import METHODS, build, raw_batch

from mimtransfer.errors import UserError
from pretrain.layout import TokenLayout
from pretrain.methods.token_prediction import Targets

MASKS, IMAGES = 3, 2
THAT_MASK = [name for name in METHODS if name not in ("MFM", "MAE, recomputed", "MAE, 2 masks")]


def prepared(model):
    data = model.data_preprocessor(raw_batch(0, IMAGES), True)
    return data["inputs"].double(), data["record"]


def rows(drawn, which):
    """Return some rows of a layout; codes belong to images and stay."""
    layout = drawn.layout if isinstance(drawn, Targets) else drawn
    layout = TokenLayout(*(part[which] for part in layout))
    return Targets(layout, drawn.ids) if isinstance(drawn, Targets) else layout


def loss_and_gradients(model, images, drawn):
    model.zero_grad()
    losses = model.loss(images, drawn)
    losses["loss"].backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in losses.items()}, grads


@pytest.mark.parametrize("name", THAT_MASK)
def test_the_loss_is_the_mean_over_the_masks_and_so_are_the_gradients(name, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # losses are in float32, also under autocast
    model = build(METHODS[name], masks_per_image=MASKS).double()
    images, record = prepared(model)
    drawn = model.draw_layout(images, record, MASKS)
    together, grads = loss_and_gradients(model, images, drawn)
    alone = [loss_and_gradients(model, images, rows(drawn, slice(k, None, MASKS))) for k in range(MASKS)]
    assert len({float(losses["loss"]) for losses, _ in alone}) == MASKS  # other masks, other losses
    errors = {key: value for key, value in together.items() if not key.endswith("_std")}  # a spread is no mean
    for key, value in errors.items():
        assert value.item() == pytest.approx(sum(losses[key].item() for losses, _ in alone) / MASKS, rel=1e-12), key
    for key, grad in grads.items():
        expected = sum(single[key] for _, single in alone) / MASKS
        torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", THAT_MASK)
def test_a_step_embeds_each_image_once_and_encodes_each_mask(name):
    model = build(METHODS[name], masks_per_image=MASKS)
    seen = {"embed": [], "encode": [], "codes": []}
    encoder = getattr(model, "student", model.encoder)
    encoder.patch_embed.register_forward_pre_hook(lambda module, args: seen["embed"].append(len(args[0])))
    last = encoder.blocks[-1] if "cross" in name else encoder.norm  # which reads blocks, and needs no norm
    last.register_forward_pre_hook(lambda module, args: seen["encode"].append(len(args[0])))
    if hasattr(model, "tokenizer"):
        model.tokenizer.register_forward_pre_hook(lambda module, args: seen["codes"].append(len(args[0])))
    model(**model.data_preprocessor(raw_batch(0, IMAGES), True))
    encoded = IMAGES if model.strategy.shares_visible else IMAGES * MASKS
    assert seen["embed"] == [IMAGES] and seen["encode"] == [encoded]
    assert seen["codes"] in ([], [IMAGES]) and bool(seen["codes"]) == hasattr(model, "tokenizer")


@pytest.mark.parametrize("name", ["MAE", "BEiT of blocks"])
def test_pictures_show_the_first_mask(name):
    several, one = build(METHODS[name], masks_per_image=MASKS).eval(), build(METHODS[name]).eval()
    data = one.data_preprocessor(raw_batch(0, IMAGES), True)
    (layout, picture), (expected, single) = (model(**data, mode="predict") for model in (several, one))
    layout, expected = rows(layout, slice(None)), rows(expected, slice(None))
    assert torch.equal(picture, single) and picture.shape == data["inputs"].shape
    for part, other in zip(getattr(layout, "layout", layout), getattr(expected, "layout", expected)):
        assert torch.equal(part, other)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UserError, match=r"MFM: got masks_per_image=2, but it masks no patches; leave .* out"):
        build(METHODS["MFM"], masks_per_image=2)
    for wrong in (0, 1.5, True, "4"):
        with pytest.raises(UserError, match=r"MAE: got masks_per_image=.*expected an integer >= 1"):
            build(METHODS["MAE"], masks_per_image=wrong)
