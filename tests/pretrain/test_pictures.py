"""Pictures of masks, maps and reconstructions: the colours of known patches."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deterministic import fill

from mimtransfer.backbones.inspect import view_block
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.aug_record import AugRecord
from pretrain.hooks.reconstruction import ReconstructionHook
from pretrain.layout import TokenLayout, take
from pretrain.masking.bank import MapBank
from pretrain.masking.base import WeightedMasking
from pretrain.masking.measured import Measured
from pretrain.patches import patch_statistics, patchify, unpatchify
from pretrain.pictures import attention_columns, picture_columns, show_map, show_roles, tile, to_unit_range

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 55.0]
MODEL = dict(
    type="MAE",
    encoder=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
                 model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)),
    decoder=dict(embed_dim=32, depth=1, num_heads=4),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=MEAN, std=STD),
)
GREY, RED = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.35, 0.0, 0.0])


class Ramp(Measured, WeightedMasking):
    """Draw patches by maps that somebody puts into the bank."""

    def measure(self, block):
        raise NotImplementedError

    def weights(self, images, record, cells):
        return self.cropped_maps(record, cells).flatten(1)


def method(strategy=None, **kwargs):
    model = MODELS.build(dict(MODEL, **kwargs))
    fill(model)
    if strategy is not None:
        model.strategy = strategy
    return model.eval()


def batch(n=2):
    torch.manual_seed(0)
    raw = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8)
    images = (raw.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    index = torch.arange(n)
    record = AugRecord(index, index + 7, torch.tensor([[0.0, 0, 1, 1]]).repeat(n, 1), torch.zeros(n, dtype=torch.bool))
    return raw, images, record


def patch(pictures, b, index, width=4, side=8):
    row, column = divmod(index, width)
    return pictures[b, :, row * side : (row + 1) * side, column * side : (column + 1) * side]


def test_roles_are_painted_patch_by_patch():
    images = torch.rand(1, 3, 16, 24)
    layout = TokenLayout(torch.tensor([[0, 5]]), torch.tensor([[1, 3]]), torch.tensor([[2, 4]]))
    shown = show_roles(images, layout, (2, 3))
    for index, colour in {1: GREY, 3: GREY, 2: RED, 4: RED}.items():
        assert (patch(shown, 0, index, width=3) == colour.view(3, 1, 1)).all()
    for index in (0, 5):
        assert torch.equal(patch(shown, 0, index, width=3), patch(images, 0, index, width=3))
    only = show_roles(images, layout, (2, 3), painted=("thrown",))
    assert torch.equal(patch(only, 0, 1, width=3), patch(images, 0, 1, width=3))
    assert (patch(only, 0, 2, width=3) == RED.view(3, 1, 1)).all()


def test_map_is_heat_over_grey():
    images = torch.tensor([0.9, 0.3, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    shown = show_map(images, torch.tensor([[[0.0, 1.0]]]))
    low, high = shown[0, :, 0, 0], shown[0, :, 0, 3]
    # ends of viridis, two thirds of them over one third of the grey value 0.4
    assert low.tolist() == pytest.approx([(2 * c + 0.4) / 3 for c in (0.267004, 0.004874, 0.329415)], abs=1e-4)
    assert high.tolist() == pytest.approx([(2 * c + 0.4) / 3 for c in (0.993248, 0.906157, 0.143936)], abs=1e-4)
    assert torch.equal(shown[0, :, :, :2], low.view(3, 1, 1).expand(3, 4, 2))


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_reconstruction_is_in_pixels(norm_pix_loss):
    """Visible patches are the image, thrown ones are painted, masked ones are the prediction un-normalised by hand."""
    strategy = MASKINGS.build(dict(type="RandomMasking", mask_ratio=0.5, throw_ratio=0.25))
    model, (raw, images, record) = method(strategy, norm_pix_loss=norm_pix_loss), batch()
    with torch.no_grad():
        columns, layout = picture_columns(model, images, record)
        rows = model.predict(images, layout)
    assert list(columns) == ["image", "roles", "reconstruction"]
    assert torch.allclose(columns["image"] * 255, raw.float(), atol=1e-3)
    if norm_pix_loss:
        mean, deviation = patch_statistics(take(patchify(images, (8, 8)), layout.masked))
        rows = rows * deviation + mean
    for b in range(2):
        for j, index in enumerate(layout.masked[b].tolist()):
            pixels = unpatchify(rows[b : b + 1, j : j + 1], (8, 8), (1, 1))[0]
            expected = (pixels * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) / 255
            assert torch.allclose(patch(columns["reconstruction"], b, index), expected.clamp(0, 1), atol=1e-5)
            assert (patch(columns["roles"], b, index) == GREY.view(3, 1, 1)).all()
        for index in layout.visible[b].tolist():
            assert torch.equal(patch(columns["reconstruction"], b, index), patch(columns["image"], b, index))
        for index in layout.thrown[b].tolist():
            assert (patch(columns["reconstruction"], b, index) == RED.view(3, 1, 1)).all()


def test_maps_are_shown_once_there_are_any():
    strategy = Ramp(mask_ratio=0.5, warmup=dict(type="RandomMasking", mask_ratio=0.75))
    model, (_, images, record) = method(strategy), batch()
    with torch.no_grad():
        before, layout = picture_columns(model, images, record)
        assert list(before) == ["image", "roles", "reconstruction"] and layout.masked.shape == (2, 12)
        maps = torch.arange(16.0).view(1, 4, 4) * torch.tensor([1.0, 100.0]).view(2, 1, 1) + 5
        strategy.bank = MapBank(maps)
        flipped = record._replace(flip=torch.tensor([False, True]))
        after, layout = picture_columns(model, images, flipped)
    assert list(after) == ["image", "weights", "roles", "reconstruction"] and layout.masked.shape == (2, 8)
    title, heat = strategy.picture(flipped, (4, 4))
    ramp = torch.arange(16.0).view(4, 4) / 15  # each image by its own range
    assert title == "weights" and torch.allclose(heat, torch.stack([ramp, ramp.flip(1)]), atol=1e-6)
    assert torch.allclose(after["weights"], show_map(after["image"], heat), atol=1e-6)


def test_labels_are_called_parts_and_equal_maps_are_no_division_by_zero():
    strategy = Ramp(mask_ratio=0.5)
    strategy.crop_mode = "nearest"
    strategy.bank = MapBank(np.stack([np.full((4, 4), 3.0), np.tile([0.0, 1.0, 2.0, 4.0], (4, 1))]))
    title, heat = strategy.picture(batch()[2], (4, 4))
    assert title == "parts"
    assert (heat[0] == 0).all() and heat[1, 0].tolist() == [0.0, 0.25, 0.5, 1.0]


def test_training_shows_the_same_images_each_time_and_maps_as_soon_as_there_are_any():
    strategy = Ramp(mask_ratio=0.5, warmup=dict(type="RandomMasking", mask_ratio=0.75))
    model, (raw, _, record) = method(strategy).train(), batch(3)
    pictures = {}
    runner = SimpleNamespace(
        model=model, epoch=0, max_epochs=9, train_loop=SimpleNamespace(max_epochs=9),
        visualizer=SimpleNamespace(add_image=lambda name, picture, step: pictures.update({step: picture})),
    )
    hook = ReconstructionHook(interval=2, num_images=2)
    for runner.epoch in range(4):
        shift = 10 * runner.epoch  # later batches are others
        hook.before_train_iter(runner, 0, {"inputs": raw + shift, "record": record})
        if runner.epoch == 2:
            strategy.bank = MapBank(torch.rand(3, 4, 4))
        hook.after_train_epoch(runner)
    assert model.training and {step: p.shape for step, p in pictures.items()} == {2: (68, 102, 3), 4: (68, 136, 3)}
    for picture in pictures.values():
        for b in range(2):
            assert (picture[34 * b + 1 : 34 * b + 33, 1:33] == raw[b].permute(1, 2, 0).numpy()).all()


def test_the_last_epoch_shows_attention():
    strategy = Ramp(mask_ratio=0.5, warmup=dict(type="RandomMasking", mask_ratio=0.75))  # without maps
    model, (raw, images, record) = method(strategy), batch()
    pictures = {}
    runner = SimpleNamespace(
        model=model, epoch=8, max_epochs=9, train_loop=SimpleNamespace(max_epochs=9),
        visualizer=SimpleNamespace(add_image=lambda name, picture, step: pictures.update({(name, step): picture})),
    )
    hook = ReconstructionHook(num_images=2)
    hook.before_train_iter(runner, 0, {"inputs": raw, "record": record})
    hook.after_train_epoch(runner)
    assert {key: p.shape for key, p in pictures.items()} == {
        ("reconstruction", 9): (68, 102, 3), ("attention", 9): (68, 102, 3)
    }
    with torch.no_grad():
        columns = attention_columns(model.eval(), images)
        received = view_block(model.encoder, images).attention[:, :, 1:, 1:].mean((1, 2))
    assert list(columns) == ["image", "block 1", "block 2"]
    expected = show_map(columns["image"], (received / received.amax(1, keepdim=True)).view(-1, 4, 4))
    assert (columns["block 2"] - expected).abs().max() < 0.02  # a step of the heat's 256 colours


def test_tiles_have_a_white_frame():
    first, second = torch.zeros(2, 3, 4, 6), torch.full((2, 3, 4, 6), 0.2)
    picture = tile({"a": first, "b": second})
    assert picture.shape == (2 * 6, 2 * 8, 3) and picture.dtype == np.uint8
    assert (picture[0] == 255).all() and (picture[:, 7:9] == 255).all()
    assert (picture[1:5, 1:7] == 0).all() and (picture[7:11, 9:15] == 51).all()


def test_normalisation_is_undone():
    raw, images, _ = batch()
    assert torch.allclose(to_unit_range(images, method().data_preprocessor) * 255, raw.float(), atol=1e-3)
