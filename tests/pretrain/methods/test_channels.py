"""Methods on images of other numbers of channels: losses, pictures, maps, and what needs RGB."""
import pytest
import torch

import pretrain.methods  # noqa: F401
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord
from pretrain.hooks.map_bank import measure_maps
from pretrain.methods.preprocessor import BandPreprocessor, unit_statistics
from pretrain.pictures import as_rgb, attention_columns, picture_columns, to_unit_range

AMT = dict(type="AMTMasking", mask_ratio=0.45, throw_ratio=0.3)
DECODER = dict(embed_dim=32, depth=1, num_heads=2)
METHODS = {
    "MAE": dict(type="MAE", decoder=DECODER),
    "MAE + FAMT": dict(type="MAE", decoder=DECODER, strategy=dict(AMT, type="FAMTMasking")),
    "SimMIM": dict(type="SimMIM", strategy=dict(type="RandomMasking", mask_ratio=0.5)),
    "SimMIM + AMT": dict(type="SimMIM", strategy=AMT),
    "MFM": dict(type="MFM", corruption=dict(type="FrequencyMasking", radius=4)),
    "MFM, noise": dict(type="MFM", corruption=dict(type="Noise")),
    "MFM, blur": dict(type="MFM", corruption=dict(type="Blur")),
}


def method(name, channels, **more):
    small = dict(embed_dim=48, depth=2, num_heads=3)
    encoder = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, in_chans=channels,
                   model_kwargs=small, pos_embed="sincos")
    numbers = dict(mean=[3000.0] * channels, std=[800.0] * channels, low=[0.0] * channels, high=[10000.0] * channels)
    torch.manual_seed(0)
    return MODELS.build(dict(METHODS.get(name, dict(type=name)), encoder=encoder, **more,
                             data_preprocessor=dict(type="mimtransfer.BandPreprocessor", **numbers)))


def batch(channels):
    record = AugRecord(torch.arange(2), torch.arange(2), torch.tensor([[0.0, 0, 1, 1]] * 2), torch.zeros(2).bool())
    return dict(inputs=torch.rand(2, channels, 32, 32) * 10000, record=record)


@pytest.mark.parametrize("channels", [1, 13])
@pytest.mark.parametrize("name", METHODS)
def test_every_channel_is_in_the_loss_and_pictures_are_in_colour(name, channels):
    model = method(name, channels)
    data = model.data_preprocessor(batch(channels))
    loss = model(**data)["loss"]
    loss.backward()
    stem = model.encoder.patch_embed.proj.weight.grad  # [D, C, 8, 8]
    assert loss.isfinite() and (stem.abs().amax((0, 2, 3)) > 0).all()
    with torch.no_grad():
        _, restored = model.eval()(**data, mode="predict")
        columns, _ = picture_columns(model, data["inputs"], data["record"])
        columns |= attention_columns(model, data["inputs"])
    assert restored.shape == data["inputs"].shape
    assert all(picture.shape == (2, 3, 32, 32) and 0 <= picture.min() <= picture.max() <= 1
               for picture in columns.values())


@pytest.mark.parametrize("changed", range(4))
def test_a_change_in_one_channel_changes_the_loss(changed):
    model, data = method("MAE", 4, norm_pix_loss=False), batch(4)
    before = model(**model.data_preprocessor(data))["loss"]
    data["inputs"][:, changed] = data["inputs"][:, changed].flip(2)
    assert (model(**model.data_preprocessor(data))["loss"] - before).abs() > 1e-5


def test_maps_are_measured_on_all_channels():
    images = torch.zeros(1, 4, 32, 32, dtype=torch.uint8)
    assert measure_maps(method("MAE + FAMT", 4), images, amp=False).shape == (1, 4, 4)


def test_pixels_come_back_in_their_range():
    preprocessor = BandPreprocessor(mean=[10.0, 2000.0], std=[2.0, 500.0], low=[0.0, 1000.0], high=[20.0, 5000.0])
    raw = torch.tensor([5.0, 4000.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    images = preprocessor({"inputs": raw})["inputs"]
    assert images[0, :, 0, 0].tolist() == [-2.5, 4.0]
    assert to_unit_range(images, preprocessor)[0, :, 0, 0].tolist() == pytest.approx([0.25, 0.75])
    mean, std = unit_statistics(preprocessor)
    assert mean.flatten().tolist() == [0.5, 0.25] and std.flatten().tolist() == pytest.approx([0.1, 0.125])


def test_channels_as_colours():
    images = torch.rand(1, 5, 2, 2)
    assert torch.equal(as_rgb(images), images[:, :3])
    assert all(torch.equal(as_rgb(images[:, :2])[:, colour], images[:, 0]) for colour in range(3))


def test_codes_are_of_rgb_images():
    with pytest.raises(UserError, match="BEiT: got in_chans=4, but the codes that it predicts are of RGB images"):
        method("BEiT", 4, strategy=dict(type="RandomMasking"), tokenizer=dict(type="KMeansTokenizer", codebook="none"))


@pytest.mark.parametrize("numbers, says", [
    (dict(mean=[1.0, 2.0], std=[1.0]), "got 1 values of std and 2 of mean"),
    (dict(mean=[1.0], std=[0.0]), "expected std above 0"),
    (dict(mean=[1.0], std=[1.0], low=[9.0], high=[9.0]), "high above"),
])
def test_numbers_that_do_not_fit(numbers, says):
    with pytest.raises(UserError, match=says):
        BandPreprocessor(**numbers)


def test_statistics_of_another_number_of_channels():
    encoder = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, in_chans=4, model_kwargs=dict(depth=1))
    with pytest.raises(UserError, match="mean and std of 3 channels, the encoder takes in_chans=4"):
        MODELS.build(dict(type="MAE", encoder=encoder, data_preprocessor=dict(
            type="mimtransfer.BandPreprocessor", mean=[0.0] * 3, std=[1.0] * 3)))
