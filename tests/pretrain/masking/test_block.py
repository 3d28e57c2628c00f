"""BlockMasking: rectangles anywhere in the grid."""
import numpy as np
import pytest
import torch
from scipy import stats

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.masking.block import BlockMasking


def masks(strategy, grid, batch, seed=0):
    """[B, h, w] bool, True = masked."""
    layout = strategy(torch.zeros(batch, 3, 8, 8), None, grid, SampleGenerator.from_seed(seed, batch))
    return layout.mask().view(batch, *grid)


@pytest.mark.parametrize("blocks", ["masked", "visible"])
def test_one_square_lies_anywhere_with_equal_chance(blocks):
    # A square of 9 of 6 x 7 patches is exactly the share of the role.
    batch = 4000
    ratio = 9 / 42 if blocks == "masked" else 33 / 42
    strategy = BlockMasking(ratio, blocks=blocks, area=(9 / 42, 9 / 42), min_aspect=1.0)
    inside = masks(strategy, (6, 7), batch)
    inside = inside if blocks == "masked" else ~inside
    first = inside.flatten(1).int().argmax(1)  # its top left corner
    top, left = first // 7, first % 7
    for b in range(batch):
        assert inside[b, top[b] : top[b] + 3, left[b] : left[b] + 3].all() and inside[b].sum() == 9
    counts = torch.bincount(top * 5 + left, minlength=20).numpy()  # 4 x 5 places, the last row and column included
    assert len(counts) == 20 and stats.chisquare(counts).pvalue > 1e-3


def test_rectangles_have_the_areas_and_aspects_of_beit():
    covers = BlockMasking(num_blocks=8).draw_blocks((14, 14), SampleGenerator.from_seed(0, 500)).flatten(0, 1)
    height, width = covers.any(2).sum(1), covers.any(1).sum(1)
    assert torch.equal(covers.sum((1, 2)), height * width)  # whole, connected, inside
    area = (height * width).double().numpy()
    # Rounding of both sides moves an area by at most half a row and half a column.
    assert area.min() >= 16 - (height + width).max() / 2 and abs(area.mean() - (16 + 75) / 2) < 1
    aspect = (height / width).log().numpy()
    assert np.abs(aspect.mean()) < 0.05
    inner = stats.uniform(np.log(0.3), -2 * np.log(0.3))
    assert np.abs(np.quantile(aspect, [0.1, 0.5, 0.9]) - inner.ppf([0.1, 0.5, 0.9])).max() < 0.15


def test_a_rectangle_is_cut_along_a_line_to_the_exact_count():
    # One rectangle is the whole grid: half of it is a half plane, so each row and column is one run at an end of it.
    inside = masks(BlockMasking(0.5, area=(1.0, 1.0), min_aspect=1.0), (6, 6), 200)
    assert (inside.sum((1, 2)) == 18).all()
    for lines in (inside, inside.transpose(1, 2)):
        assert (lines.int().diff(dim=2).abs().sum(2) <= 1).all()
    # In a random direction: on average, all patches are alike.
    assert (inside.float().mean(0) - 0.5).abs().max() < 0.15


def test_thrown_patches_are_the_next_rectangles():
    # Rectangles of 1 x 1, so many that all patches are covered: the order is that of a random draw.
    strategy = BlockMasking(0.4, 0.3, area=(1e-6, 1e-6), num_blocks=200)
    order = strategy.block_order((3, 4), SampleGenerator.from_seed(0, 3000))
    for position in (0, 5, 11):
        assert stats.chisquare(torch.bincount(order[:, position], minlength=12).numpy()).pvalue > 1e-3
    covers = strategy.draw_blocks((3, 4), SampleGenerator.from_seed(0, 3000)).flatten(2).int()
    assert (covers.sum(2) == 1).all()
    assert torch.equal(order[:, 0], covers[:, 0].argmax(1))


@pytest.mark.parametrize("kwargs", [dict(blocks="thrown"), dict(area=(0.0, 0.5)), dict(min_aspect=2.0)])
def test_impossible_settings_are_refused(kwargs):
    with pytest.raises(UserError, match=r"BlockMasking: got .*expected"):
        BlockMasking(**kwargs)
