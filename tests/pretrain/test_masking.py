"""The contract of every registered masking strategy: a new one is tested here without an edit."""
import numpy as np
import pytest
import torch
from scipy import stats

from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.draws import SampleGenerator
from pretrain.layout import TokenLayout, take
from pretrain.masking.random import RandomMasking

MASKINGS.import_from_location()
STRATEGIES = sorted(MASKINGS.module_dict)
GRIDS = [(8, 8), (4, 6), (14, 14)]
RATIOS = [(0.75, 0.0), (0.45, 0.4), (0.0, 0.0), (0.02, 0.0), (0.95, 0.0), (0.6, 0.15)]


def draw(name: str, grid, mask_ratio, throw_ratio=0.0, batch=3, seed=0, **kwargs) -> TokenLayout:
    strategy = MASKINGS.build(dict(type=name, mask_ratio=mask_ratio, throw_ratio=throw_ratio, **kwargs))
    images = torch.zeros(batch, 3, grid[0] * 4, grid[1] * 4)
    return strategy(images, None, grid, SampleGenerator.from_seed(seed, batch))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("ratios", RATIOS, ids=str)
@pytest.mark.parametrize("batch", [1, 5])
def test_roles_are_disjoint_complete_and_exactly_counted(name, grid, ratios, batch):
    layout = draw(name, grid, *ratios, batch=batch)
    num_patches = grid[0] * grid[1]
    assert torch.equal(torch.cat(list(layout), dim=1).sort(1).values, torch.arange(num_patches).expand(batch, -1))
    masked = int(num_patches * ratios[0] + 1e-9)
    hidden = int(num_patches * sum(ratios) + 1e-9)
    assert [part.shape[1] for part in layout] == [num_patches - hidden, masked, hidden - masked]
    assert all(part.dtype == torch.int64 for part in layout)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_seed_decides(name):
    first, again, other = (draw(name, (8, 8), 0.5, 0.2, seed=seed) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert any(not torch.equal(a, b) for a, b in zip(first, other))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_patch_reaches_every_role(name):
    layout = draw(name, (4, 6), 0.4, 0.3, batch=400)
    for part in layout:
        assert len(part.unique()) == 24


def test_random_masking_is_uniform():
    layout = draw("RandomMasking", (4, 4), 0.25, batch=6000)
    counts = torch.bincount(layout.masked[:, 0], minlength=16).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    assert np.abs(layout.mask().float().mean(0) - 0.25).max() < 0.03


def test_units_are_masked_whole():
    layout = draw("RandomMasking", (6, 8), 0.5, 0.25, unit=2)
    cells = layout.roles().view(3, 3, 2, 4, 2)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert [part.shape[1] for part in layout] == [12, 24, 12]


def test_published_counts():
    # papers.md section 0: masked 88, thrown 78, visible 30; and 117, 30, 49; MAE masks 147.
    assert RandomMasking(0.45, 0.40).counts(196) == (30, 88, 78)
    assert RandomMasking(0.60, 0.15).counts(196) == (49, 117, 30)
    assert RandomMasking(0.75).counts(196) == (49, 147, 0)
    assert RandomMasking(0.29).counts(100) == (71, 29, 0)


def test_layout_views():
    layout = TokenLayout(torch.tensor([[0, 3]]), torch.tensor([[2]]), torch.tensor([[1]]))
    assert layout.mask().tolist() == [[False, False, True, False]]
    assert layout.roles().tolist() == [[0, 2, 1, 0]]
    tokens = torch.arange(8.0).view(1, 4, 2)
    assert take(tokens, layout.visible).tolist() == [[[0, 1], [6, 7]]]
    assert take(tokens, torch.tensor([[1], [2]])).tolist() == [[[2, 3]], [[4, 5]]]  # one table for the batch


@pytest.mark.parametrize(
    "kwargs", [dict(mask_ratio=1.0), dict(mask_ratio=-0.1), dict(mask_ratio=0.6, throw_ratio=0.4), dict(unit=0)]
)
def test_impossible_ratios_are_refused(kwargs):
    with pytest.raises(UserError, match=r"RandomMasking: got .*expected"):
        RandomMasking(**kwargs)


def test_a_unit_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="7 x 7 patches and unit=2"):
        draw("RandomMasking", (7, 7), 0.5, unit=2)
