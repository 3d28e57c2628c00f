"""MFM: what the encoder sees, what is compared, what is refused."""
import pytest
import torch
from deterministic import fill

from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS, MODELS
from pretrain.aug_record import AugRecord
from pretrain.corruptions.frequency import FrequencyMasking
from pretrain.methods.mfm import MFM
from pretrain.pictures import picture_columns

VIT = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
           model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
SWIN = dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=64, window_size=4,
            model_kwargs=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4)))
CNN = dict(type="TimmCNN", arch="resnet10t", model_kwargs=dict(channels=(8, 8, 16, 16)))
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
MEAN, STD = (torch.tensor(PREPROCESSOR[key]).view(3, 1, 1) for key in ("mean", "std"))
RADIUS_4 = dict(type="FrequencyMasking", radius=4)
CORRUPTIONS.import_from_location()


def build(encoder: dict = VIT, corruption: dict | None = RADIUS_4, **kwargs) -> MFM:
    torch.manual_seed(0)
    config = dict(type="MFM", encoder=encoder, corruption=corruption, data_preprocessor=PREPROCESSOR)
    model = MODELS.build(dict(config, **kwargs))
    fill(model)
    return model


def batch(height: int = 32, width: int = 40, size: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.rand(size, 3, height, width, generator=torch.Generator().manual_seed(0))
    return pixels, (pixels * 255 - MEAN) / STD


def record_of(seeds: list[int]) -> AugRecord:
    seed = torch.tensor(seeds)
    return AugRecord(seed, seed, torch.tensor([[0.0, 0, 1, 1]]).repeat(len(seeds), 1), torch.zeros(len(seeds)).bool())


@pytest.mark.parametrize("autocast", [False, True])
def test_images_are_filtered_before_they_are_normalised(autocast):
    model, (pixels, images) = build(), batch()
    record = record_of([5, 6])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        drawn = model.draw_layout(images, record)
    expected, kept = FrequencyMasking(4)(pixels, model.generator(images, record))
    assert torch.equal(drawn.kept, kept) and drawn.images.dtype == torch.float32
    assert torch.allclose(drawn.images, (expected * 255 - MEAN) / STD, atol=1e-4)
    assert not drawn.images.requires_grad


def test_what_a_sample_loses_follows_from_its_seed():
    model, (_, images) = build(), batch(size=6)
    seeds = [1, 2, 3, 4, 5, 6]
    kept = model.draw_layout(images, record_of(seeds)).kept
    other = model.draw_layout(images[[4, 1]], record_of([5, 2])).kept
    assert torch.equal(other, kept[[4, 1]]) and kept[:, 0, 0].unique().numel() == 2


def test_loss_compares_with_the_original():
    model, (_, images) = build(), batch()
    drawn = model.draw_layout(images, None)
    prediction = model.head[1](model.head[0](model.encoder(drawn.images)[-1]))
    assert prediction.shape == images.shape
    assert torch.equal(model(images)["loss"], model.frequency_loss(prediction, images, drawn.kept))


def test_the_level_of_predicting_zero_is_logged_and_not_trained():
    model, (_, images) = build(), batch()
    torch.nn.init.zeros_(model.head[0].weight)
    torch.nn.init.zeros_(model.head[0].bias)
    losses = model(images, record_of([1, 5]))
    assert torch.equal(losses["loss"], losses["zero_level"]) and set(losses) == {"loss", "zero_level"}
    total, logged = model.parse_losses(losses)
    assert torch.equal(total, losses["loss"]) and torch.equal(logged["zero_level"], losses["zero_level"])


@pytest.mark.parametrize("options", [dict(frequency_loss=dict(bins="all")), dict(corruption=dict(type="Noise"))])
def test_the_level_of_copying_is_logged_where_given_bins_count(options):
    model, (_, images) = build(**options), batch()
    drawn = model.draw_layout(images, record_of([1, 5]))
    level = model.loss(images, drawn)["copy_level"]
    spectrum = torch.fft.fft2((drawn.images - images).double(), norm="ortho").abs()
    assert level.item() == pytest.approx(spectrum.mean().item(), rel=1e-5) and not level.requires_grad


def test_head_puts_pixels_where_their_patch_is():
    model, (_, images) = build(), batch()
    weight, bias = model.head[0].weight[:, :, 0, 0].double(), model.head[0].bias.double()
    tokens = model.encoder(images)[-1].double()  # [B, D, 4, 5]
    prediction = model.predict(images).double()
    for channel, y, x in ((0, 0, 0), (1, 9, 38), (2, 31, 17)):
        row = channel * 64 + y % 8 * 8 + x % 8
        expected = tokens[:, :, y // 8, x // 8] @ weight[row] + bias[row]
        assert torch.allclose(prediction[:, channel, y, x], expected, atol=1e-5)


@pytest.mark.parametrize("encoder", [VIT, SWIN, CNN], ids=lambda encoder: encoder["type"])
@pytest.mark.parametrize("corruption", sorted(CORRUPTIONS.module_dict))
def test_every_corruption_trains_every_encoder_a_step(encoder, corruption):
    options = dict(radius=4) if corruption == "FrequencyMasking" else {}
    model, (_, images) = build(encoder, dict(type=corruption, **options)), batch(64, 96)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = model(images, record_of([1, 2]))["loss"]
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    optimizer.step()
    assert model(images, record_of([1, 2]))["loss"] < before


def test_reconstruction_keeps_what_the_encoder_was_given():
    model, (_, images) = build(), batch()
    drawn, restored = model(images, record_of([1, 5]), mode="predict")
    assert drawn.kept[:, 0, 0].tolist() in ([True, False], [False, True])
    spectra = [torch.fft.rfft2(x.double()) for x in (restored, images, model.predict(drawn.images))]
    kept = drawn.kept[:, None].expand_as(spectra[0])
    assert torch.allclose(spectra[0][kept], spectra[1][kept], atol=1e-3)
    assert torch.allclose(spectra[0][~kept], spectra[2][~kept], atol=1e-3)
    for options in (dict(frequency_loss=dict(bins="all")), dict(corruption=dict(type="SuperResolution"))):
        other = build(**options)
        drawn, restored = other(images, mode="predict")
        assert torch.equal(restored, other.predict(drawn.images))


def test_pictures_show_the_spectrum_that_is_left():
    model, (pixels, images) = build(corruption=dict(RADIUS_4, low_pass_ratio=1.0, clamp=False)).eval(), batch()
    with torch.no_grad():
        columns, drawn = picture_columns(model, images, record_of([1, 2]))
    assert list(columns) == ["image", "corrupted", "spectrum", "reconstruction"]
    for column in columns.values():
        assert column.shape == images.shape and column.min() >= 0 and column.max() <= 1
    assert torch.allclose(columns["image"], pixels, atol=1e-5)
    assert torch.allclose(columns["corrupted"], ((drawn.images * STD + MEAN) / 255).clamp(0, 1), atol=1e-5)
    spectrum = columns["spectrum"][0]
    # Ends of viridis: yellow is the zero frequency, in the middle; nothing is left at the corner.
    assert spectrum[:, 16, 20].tolist() == pytest.approx([0.993248, 0.906157, 0.143936], abs=1e-4)
    assert spectrum[:, 0, 0].tolist() == pytest.approx([0.267004, 0.004874, 0.329415], abs=0.03)


def test_default_is_the_published_setting():
    model = build(dict(VIT, img_size=224, patch_size=32), corruption=None)
    assert vars(model.corruption) == dict(radius=16, low_pass_ratio=0.5, clamp=True)
    loss = model.frequency_loss
    assert (loss.gamma, loss.bins, loss.normalise, loss.focal_gamma) == (1.0, "masked", "batch", None)


def test_mistakes_give_one_line():
    with pytest.raises(UserError, match="MFM: got strategy=RandomMasking, but it hides frequencies"):
        build(strategy=dict(type="RandomMasking", mask_ratio=0.5))
    with pytest.raises(UserError, match="MFM: got a data_preprocessor without mean and std"):
        build(data_preprocessor=None)
    with pytest.raises(UserError, match="MFM: got patches of 8 x 4 pixels; expected square ones"):
        build(dict(VIT, patch_size=(8, 4)))
    with pytest.raises(UserError, match="MFM: got images of 33 x 32 pixels and patches of 8 x 8"):
        build()(torch.zeros(1, 3, 33, 32))
    with pytest.raises(UserError, match="radius=16 and images of 24 x 32 pixels"):
        build(corruption=None)(torch.zeros(1, 3, 24, 32))
