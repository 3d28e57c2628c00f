"""MFM against the official code, and how it starts.

How `fixtures/mfm_official.json` was made: the classes MFM, VisionTransformerForMFM and ResNetForMFM of Jiahao000/MFM's
models/mfm.py with the sizes below, every parameter filled by `official`, masks of its FreqMaskGenerator, images of
`images_of`; in training mode; then the encoder's input (every n-th value of it), loss, norms of gradients, and of the
smallest models the prediction and the criterion's distance of each bin (left half of the spectra, channels first).
"""
import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from deterministic import numbers
from torch import Tensor

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.registry import CORRUPTIONS, MODELS
from pretrain.methods.frequency_loss import FrequencyLoss, SpectralDistance
from pretrain.methods.mfm import MFM

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "mfm_official.json").read_text())
OFFICIAL = FIXTURE["cases"]
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
ENCODERS = {
    "tiny": dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
                 model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)),
    "base": dict(type="TimmViT", arch="vit_base_patch16_224"),
    "resnet": dict(type="TimmCNN", arch="resnet50"),
}


def official(name: str, shape: tuple[int, ...]) -> Tensor:
    """Make a tensor of the official model: 0.05 times normal numbers, and 1 added to the weights of norms."""
    return numbers(name, shape, 0.05) + (len(shape) == 1 and name.endswith("weight"))


def official_state(model: MFM) -> dict[str, Tensor]:
    """Return the parameters of the official model of the same size, by its names."""
    state = {}
    for name, parameter in model.named_parameters():
        name, shape = name.replace("head.", "decoder."), tuple(parameter.shape)
        if name.endswith("qkv.bias"):  # it has none for keys
            for part in ("q_bias", "v_bias"):
                part = name.replace("qkv.bias", part)
                state[part] = official(part, (shape[0] // 3,))
        else:
            state[name] = official(name, shape)
    return state


@cache
def build(kind: str) -> MFM:
    model = MODELS.build(dict(type="MFM", encoder=ENCODERS[kind], data_preprocessor=PREPROCESSOR))
    state = official_state(model)
    left = model.encoder.load_state_dict(read_format({"model": state}).encoder, strict=False)
    assert not left.unexpected_keys and all("running_" in key or "num_" in key for key in left.missing_keys)
    model.head.load_state_dict({name[8:]: value for name, value in state.items() if name.startswith("decoder.")})
    return model.train()


def images_of(batch: int, side: int) -> Tensor:
    """Return what the official loader gives: pictures in [0, 1] with coarse and fine structure."""
    coarse = F.interpolate(numbers("coarse", (batch, 3, 4, 4), 0.2), size=(side, side), mode="bilinear")
    return (0.5 + coarse + numbers("fine", (batch, 3, side, side), 0.1)).clamp(0, 1)


class Fixed:
    """A generator that draws what the fixture has drawn."""

    def __init__(self, low_pass: list[int]):
        self.low_pass = low_pass

    def uniform(self, *shape: int) -> Tensor:
        return torch.tensor([0.0 if low else 1.0 for low in self.low_pass]).view(-1, *shape)


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_input_loss_and_gradients_equal_the_official_code(case, monkeypatch):
    model = build(case["encoder"])
    filtered = case["low_pass"] is not None
    model.corruption = CORRUPTIONS.build(
        dict(type="FrequencyMasking", radius=case["radius"]) if filtered else dict(type="SuperResolution")
    )
    model.frequency_loss = FrequencyLoss(**case["options"])
    monkeypatch.setattr(model, "generator", lambda images, record: Fixed(case["low_pass"]))
    side = 32 if case["encoder"] == "tiny" else 224
    pixels = images_of(1 if case["encoder"] == "base" else 2, side) * 255
    images = model.data_preprocessor(dict(inputs=pixels))["inputs"]

    drawn = model.draw_layout(images, None)
    values = drawn.images.flatten()
    assert (drawn.kept is not None) == filtered
    assert values[:: values.numel() // 61].tolist() == pytest.approx(case["corrupted"], abs=1e-5)
    assert values.double().abs().sum().item() == pytest.approx(case["corrupted_abs_sum"], rel=1e-6)
    assert values.double().sum().item() == pytest.approx(case["corrupted_sum"], abs=1e-6 * case["corrupted_abs_sum"])
    with torch.set_grad_enabled("grad_norms" in case):
        loss = model.loss(images, drawn)["loss"]
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    check_gradients(model, loss, case.get("grad_norms", {}), 1e-4)


@pytest.mark.parametrize("case", FIXTURE["given"], ids=lambda case: case["name"])
def test_loss_of_given_degraded_images_equals_the_official_code(case):
    # What degradations make of an image is compared in test_blur.py and test_noise.py.
    model = build(case["encoder"])
    model.corruption = lambda images, generator: (images + numbers(case["added"], tuple(images.shape), 0.2), None)
    model.frequency_loss = FrequencyLoss()
    side = 32 if case["encoder"] == "tiny" else 224
    pixels = images_of(1 if case["encoder"] == "base" else 2, side) * 255
    images = model.data_preprocessor(dict(inputs=pixels))["inputs"]
    with torch.no_grad():
        loss = model.loss(images, model.draw_layout(images, None))["loss"]
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)


@pytest.mark.parametrize("case", [case for case in OFFICIAL if "float64" in case], ids=lambda case: case["name"])
def test_loss_and_gradients_of_a_resnet_equal_the_official_code_in_float64(case, monkeypatch):
    # Untrained and 50 layers deep, it multiplies rounding a thousand times on the way to the stem.
    model = deepcopy(build("resnet")).double()
    filtered = case["low_pass"] is not None
    model.corruption = CORRUPTIONS.build(
        dict(type="FrequencyMasking", radius=5) if filtered else dict(type="SuperResolution")
    )
    monkeypatch.setattr(model, "generator", lambda images, record: Fixed(case["low_pass"]))
    mean, std = (torch.tensor(PREPROCESSOR[key], dtype=torch.float64).view(3, 1, 1) for key in ("mean", "std"))
    model.data_preprocessor.mean, model.data_preprocessor.std = mean, std  # not rounded to float32
    images = (images_of(2, 64).double() * 255 - mean) / std
    loss = model.loss(images, model.draw_layout(images, None))["loss"]
    assert loss.item() == pytest.approx(case["float64"]["loss"], rel=1e-10)
    check_gradients(model, loss, case["float64"]["grad_norms"], 1e-9)


@pytest.mark.parametrize("case", [case for case in OFFICIAL if "distances" in case], ids=lambda case: case["name"])
def test_prediction_and_the_distance_of_each_bin_equal_the_official_code(case, monkeypatch):
    model = build(case["encoder"])
    filtered = case["low_pass"] is not None
    model.corruption = CORRUPTIONS.build(
        dict(type="FrequencyMasking", radius=case["radius"]) if filtered else dict(type="SuperResolution")
    )
    model.frequency_loss = criterion = FrequencyLoss(**case["options"])
    monkeypatch.setattr(model, "generator", lambda images, record: Fixed(case["low_pass"]))
    images = model.data_preprocessor(dict(inputs=images_of(2, 32) * 255))["inputs"]
    drawn = model.draw_layout(images, None)
    with torch.no_grad():
        check_values(model.predict(drawn.images), case["prediction"], case["prediction_abs_sum"])
    powers, apply = [], SpectralDistance.apply

    def keep_power(error, spectrum, power, weight, gamma):
        powers.append(power.detach().clone())
        return apply(error, spectrum, power, weight, gamma)

    monkeypatch.setattr(SpectralDistance, "apply", keep_power)
    model.loss(images, drawn)
    power = powers[-1]  # the one before, if any, is of copying the input
    distances = power ** (criterion.gamma / 2)
    if criterion.focal_gamma is not None:
        distances = distances * criterion._focal_weights(power)
    check_values(distances, case["distances"], case["distances_sum"])


MEAN, STD = (torch.tensor(PREPROCESSOR[key], dtype=torch.float64).view(3, 1, 1) / 255 for key in ("mean", "std"))
RADIUS, LOW_PASS, SIDE = 5, [True, False], 32  # of the comparison with float64


def filtered(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Filter [B, 3, H, W] float64 in [0, 1] by its whole spectrum, and say which bins [B, H, W] are kept."""
    cycles = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=torch.float64)
    disc = cycles[:, None] ** 2 + cycles**2 < RADIUS**2
    kept = torch.stack([disc if low else ~disc for low in LOW_PASS])
    return torch.fft.ifft2(torch.fft.fft2(pixels) * kept[:, None]).real.clamp(0, 1), kept


def blurred(pixels: Tensor) -> tuple[Tensor, None]:
    small = F.interpolate(pixels, size=(SIDE // 8, SIDE // 8), mode="bicubic").clamp(0, 1)
    return F.interpolate(small, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1), None


@pytest.fixture(params=["frequencies", "super-resolution"])
def case(request, monkeypatch):
    """The model, normalised images, and in float64 the same images, and the corrupted ones with what is kept."""
    model = deepcopy(build("tiny"))
    masked = request.param == "frequencies"
    config = dict(type="FrequencyMasking", radius=RADIUS) if masked else dict(type="SuperResolution")
    model.corruption, model.frequency_loss = CORRUPTIONS.build(config), FrequencyLoss()
    monkeypatch.setattr(model, "generator", lambda images, record: Fixed(LOW_PASS))
    pixels = images_of(2, SIDE)
    images = model.data_preprocessor(dict(inputs=pixels * 255))["inputs"]
    corrupted, kept = (filtered if masked else blurred)(pixels.double())
    return model, images, (pixels.double() - MEAN) / STD, (corrupted - MEAN) / STD, kept


def check_scale(found: Tensor, expected: Tensor) -> None:
    """Compare [B, 3, H, W] element by element, then the scale and offset of each channel: a factor of 1 + 1e-5 changes
    no value by more than float32 rounds, but rounding has no direction.
    """
    found = found.double()
    torch.testing.assert_close(found, expected, rtol=0, atol=4e-6)
    for ours, theirs in zip(found.transpose(0, 1).flatten(1), expected.transpose(0, 1).flatten(1)):
        scale = (ours @ theirs / (theirs @ theirs)).item()
        assert scale == pytest.approx(1, abs=5e-7) and (ours - theirs).mean().item() == pytest.approx(0, abs=5e-7)


def test_inputs_prediction_and_loss_are_those_of_float64(case):
    """Planted factors of 1 + 1e-5 in the normalisation of the input and in the filter had passed all tests."""
    model, images, original, corrupted, kept = case
    check_scale(images, original)
    drawn = model.draw_layout(images, None)
    check_scale(drawn.images, corrupted)
    # Once more in float64, where nothing but rounding of 1e-16 is left to hide in.
    wide = deepcopy(model).double()
    wide.data_preprocessor.mean, wide.data_preprocessor.std = 255 * MEAN, 255 * STD
    torch.testing.assert_close(wide.draw_layout(original, None).images, corrupted, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        prediction = wide.head(wide.encoder(corrupted)[-1])
        torch.testing.assert_close(wide.predict(corrupted), prediction, rtol=1e-10, atol=1e-10)
        check_scale(model.predict(drawn.images), prediction)
        loss = model.loss(images, drawn)["loss"].item()
    distance = torch.fft.fft2(prediction - original, norm="ortho").abs()
    missing = torch.ones_like(distance, dtype=torch.bool) if kept is None else ~kept[:, None].expand_as(distance)
    expected = distance[missing].mean().item()
    assert loss == pytest.approx(expected, rel=2e-6)
    with torch.no_grad():
        assert wide.loss(original, wide.draw_layout(original, None))["loss"].item() == pytest.approx(expected, rel=1e-9)


def check_values(found: Tensor, expected: list[float], expected_sum: float) -> None:
    """Compare every n-th value and the sum of all absolute ones."""
    values = found.flatten()[:: found.numel() // 61]
    assert values.tolist() == pytest.approx(expected, rel=2e-6, abs=5e-6)
    assert found.double().abs().sum().item() == pytest.approx(expected_sum, rel=1e-6)


def check_gradients(model: MFM, loss: Tensor, norms: dict[str, float], tolerance: float) -> None:
    parameters = dict(model.named_parameters())
    names = [name.replace("v_bias", "qkv.bias").replace("decoder.", "head.") for name in norms]
    grads = torch.autograd.grad(loss, [parameters[name] for name in names]) if names else []
    for (name, expected), grad in zip(norms.items(), grads):
        if name.endswith("v_bias"):
            grad = grad.chunk(3)[2]
        assert grad.double().norm().item() == pytest.approx(expected, rel=tolerance), name


def test_official_files_load(tmp_path):
    model = build("tiny")
    torch.save({"model": official_state(model)}, tmp_path / "official.pth")
    encoder = TimmViT(**{key: value for key, value in ENCODERS["tiny"].items() if key != "type"})
    report = load_backbone(encoder, tmp_path / "official.pth")
    assert report.source.startswith("official MFM") and not report.expected_missing and not report.resized
    assert set(report.unexpected) == {"decoder.0.weight", "decoder.0.bias"}
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[name]), name


def test_initialisation_is_that_of_the_official_code():
    torch.manual_seed(0)
    model = MODELS.build(dict(type="MFM", encoder=ENCODERS["tiny"], data_preprocessor=PREPROCESSOR))
    # Normal with 0.02, cut off at one deviation: 0.5396 of it is left; divided by the depth of a block.
    for i, block in enumerate(model.encoder.blocks, start=1):
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.5396 * 0.02, rel=0.03)
        assert block.mlp.fc2.weight.std().item() * (2 * i) ** 0.5 == pytest.approx(0.5396 * 0.02, rel=0.03)
        assert (block.attn.qkv.bias == 0).all()
    for parameter in (model.encoder.cls_token, model.encoder.pos_embed, model.encoder.patch_embed.proj.weight):
        assert 0.015 < parameter.abs().max() <= 0.02
    # The head as PyTorch's convolutions: uniform within 1 / sqrt(48).
    assert 0.99 < model.head[0].weight.abs().max() * 48**0.5 <= 1
    assert model.head[0].bias.abs().max() > 0.1
