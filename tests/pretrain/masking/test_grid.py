"""GridMasking: the same roles in every tile."""
import pytest
import torch
from scipy import stats

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.masking.grid import GridMasking


def roles(strategy, grid, batch):
    layout = strategy(torch.zeros(batch, 3, 8, 8), None, grid, SampleGenerator.from_seed(0, batch))
    return layout.roles().view(batch, *grid)


@pytest.mark.parametrize("grid, tile, ratios", [((14, 14), 2, (0.75, 0)), ((4, 6), 2, (0.5, 0.25)),
                                                ((6, 9), 3, (4 / 9, 4 / 9))])
def test_regular_shares_repeat_one_tile(grid, tile, ratios):
    drawn = roles(GridMasking(*ratios, tile=tile), grid, 400)
    tiles = drawn.unflatten(2, (-1, tile)).unflatten(1, (-1, tile))  # [B, h/t, t, w/t, t]
    assert (tiles == tiles[:, :1, :, :1]).all()
    where = (tiles[:, 0, :, 0].flatten(1) == 0).int()  # visible places, [B, t * t]
    assert (where.sum(1) == round(tile**2 * (1 - sum(ratios)))).all()
    assert stats.chisquare(where.sum(0).numpy()).pvalue > 1e-3  # each as often as the others


def test_between_regular_shares_one_place_is_cut_at_random():
    # 0.85 of 100 patches: 3 of 4 places and 10 of the 25 patches of the last one are masked.
    visible = roles(GridMasking(0.85), (10, 10), 2000) == 0
    tiles = visible.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3).flatten(1, 2)  # [B, 25, 4]
    place = tiles.any(1)
    assert (place.sum(1) == 1).all() and (tiles.sum((1, 2)) == 15).all()
    assert (tiles.any(2).float().mean(0) - 0.6).abs().max() < 0.05


def test_an_odd_grid_is_cut_to_the_exact_count():
    # 5 x 5: the places of a 2 x 2 tile hold 9, 6, 6 and 4 patches; 7 stay visible.
    visible = roles(GridMasking(0.75), (5, 5), 300) == 0
    assert (visible.sum((1, 2)) == 7).all()
    regular = torch.zeros(5, 5, dtype=torch.bool)
    regular[::2, ::2] = True
    subset = (visible <= regular).flatten(1).all(1)
    assert 0.15 < subset.float().mean() < 0.35  # the 9 are drawn last in a quarter of the images


def test_a_tile_of_one_patch_is_refused():
    with pytest.raises(UserError, match="GridMasking: got tile=1; expected 2"):
        GridMasking(tile=1)
