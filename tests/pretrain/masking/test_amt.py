"""AMTMasking: maps against a plain float64 ViT, cells, and the crop of the released code."""
import numpy as np
import pytest
import torch
from reference_vit import reference_blocks, tiny_vit

from mimtransfer.backbones.inspect import view_block
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord, crop_maps
from pretrain.masking.amt import AMTMasking
from pretrain.masking.bank import MapBank


class Attention:
    """A block view of which only the attention of the class token is known."""

    def __init__(self, rows, grid):
        self.class_attention, self.grid = torch.tensor(rows), grid


def whole(num_images):
    return AugRecord(torch.arange(num_images), torch.arange(num_images),
                     torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(num_images, 4), torch.zeros(num_images).bool())


@torch.inference_mode()
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("kwargs", [{}, dict(reg_tokens=2), dict(qk_norm=True)], ids=["plain", "registers", "qk-norm"])
def test_maps_equal_the_float64_reference(kwargs, fused):
    vit, images = tiny_vit(model_kwargs=kwargs), torch.randn(3, 3, 24, 40)
    for block in vit.blocks:
        block.attn.fused_attn = fused
    got = AMTMasking().measure(view_block(vit, images))
    attention = reference_blocks(vit, images)[-1].attention
    for b in range(3):
        expected = np.zeros(15)
        for head in range(3):
            row = attention[b, head, 0, vit.num_prefix_tokens :]
            expected += (row - row.min()) / (row.max() - row.min()) / 3
        np.testing.assert_allclose(got[b].flatten().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert got.shape == (3, 3, 5) and got.dtype == torch.float32


def test_a_head_that_attends_to_all_alike_counts_nothing():
    flat, ramp = [0.25] * 4, [0.1, 0.2, 0.3, 0.4]
    got = AMTMasking().measure(Attention([[flat, ramp], [flat, flat]], (2, 2)))
    torch.testing.assert_close(got[0], torch.tensor([[0, 1 / 6], [1 / 3, 1 / 2]]))
    assert torch.equal(got[1], torch.zeros(2, 2))


def test_an_all_zero_map_draws_all_patches_alike():
    strategy = AMTMasking(0.25, 0.25)
    strategy.bank = MapBank(np.zeros((1, 2, 4)))
    draws = 4000
    record = AugRecord(torch.zeros(draws).long(), torch.arange(draws), whole(1).box.expand(draws, 4),
                       torch.zeros(draws).bool())
    layout = strategy(torch.zeros(draws, 3, 4, 8), record, (2, 4), SampleGenerator(record.seed))
    counts = layout.masked.flatten().bincount(minlength=8)
    assert (counts - draws / 4).abs().max() < 5 * (draws * 0.25 * 0.75) ** 0.5  # 5 standard deviations


def test_the_most_attended_are_masked_and_the_least_stay_visible_or_are_thrown():
    # Far enough apart for the draw to be all but certain; the seeds are fixed.
    map_ = np.array([0.0] * 4 + [1e-4] * 4 + [1.0] * 4)[np.random.default_rng(0).permutation(12)]
    for throw, roles in (("middle", (1.0, 1e-4, 0.0)), ("lowest", (1.0, 0.0, 1e-4))):
        strategy = AMTMasking(1 / 3, 1 / 3, throw=throw)
        strategy.bank = MapBank(map_.reshape(1, 3, 4).repeat(20, 0))
        record = whole(20)
        layout = strategy(torch.zeros(20, 3, 6, 8), record, (3, 4), SampleGenerator(record.seed))
        for patches, weight in zip((layout.masked, layout.thrown, layout.visible), roles):
            assert (map_[patches.numpy()] == weight).all(), throw


@pytest.mark.parametrize("legacy", [False, True], ids=["crop", "legacy"])
def test_the_weight_of_a_cell_is_the_mean_over_its_patches(legacy):
    maps = np.random.default_rng(1).random((4, 6, 8)).astype(np.float32)
    record = AugRecord(torch.tensor([2, 0, 1, 3]), torch.arange(4),
                       torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0], [0.3, 0.1, 1.0, 0.5],
                                     [0.2, 0.5, 0.6, 1.0]]), torch.tensor([False, True, True, False]))
    fine, coarse = AMTMasking(legacy_crop=legacy), AMTMasking(unit=2, legacy_crop=legacy)
    fine.bank = coarse.bank = MapBank(maps)
    images = torch.zeros(4, 3, 96, 128)
    patches = fine.weights(images, record, (6, 8)).view(4, 6, 8)
    cells = coarse.weights(images, record, (3, 4)).view(4, 3, 4)
    if not legacy:
        torch.testing.assert_close(patches, crop_maps(torch.tensor(maps)[[2, 0, 1, 3]], record, (6, 8)))
    for i in range(3):
        for j in range(4):
            block = patches[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            torch.testing.assert_close(cells[:, i, j], block.mean((1, 2)))
    low, high = patches.amin((1, 2), keepdim=True), patches.amax((1, 2), keepdim=True)
    for strategy in (fine, coarse):  # the picture shows what is drawn from
        torch.testing.assert_close(strategy.picture(record, (6, 8))[1], (patches - low) / (high - low))


def test_without_maps_all_patches_are_alike_until_the_bank_is_there():
    images, record = torch.zeros(2, 3, 8, 8), whole(2)
    strategy = AMTMasking()
    assert torch.equal(strategy.weights(images, None, (4, 4)), torch.ones(2, 16))
    assert strategy.picture(record, (4, 4)) is None
    warm = AMTMasking(warmup=dict(type="RandomMasking", mask_ratio=0.75))
    counts = [[part.shape[1] for part in warm(images, record, (4, 4), SampleGenerator(record.seed))]]
    warm.bank = MapBank(np.ones((2, 4, 4)))
    counts.append([part.shape[1] for part in warm(images, record, (4, 4), SampleGenerator(record.seed))])
    assert counts == [[4, 12, 0], [3, 7, 6]]  # of 16: 0.45 masked, 0.40 thrown with floors


def test_from_a_config_and_refusals():
    strategy = MASKINGS.build(dict(type="AMTMasking", throw="lowest", legacy_crop=True, unit=2))
    assert (strategy.mask_ratio, strategy.throw_ratio, strategy.unit) == (0.45, 0.40, 2)
    assert (strategy.throw, strategy.legacy_crop, strategy.warmup) == ("lowest", True, None)
    with pytest.raises(UserError, match="AMTMasking: got throw='head'; expected 'middle' or 'lowest'"):
        AMTMasking(throw="head")
    with pytest.raises(UserError, match="the encoder has no class token"):
        AMTMasking().measure(view_block(tiny_vit(model_kwargs=dict(class_token=False)), torch.zeros(1, 3, 24, 40)))
