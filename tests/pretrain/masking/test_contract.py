"""The contract of every registered masking strategy: a new one is tested here without an edit.

A strategy that measures is tested twice: before it has maps, and with random ones under random crops and flips.
"""
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from mimtransfer.draws import SampleGenerator, mix
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, take
from pretrain.masking.bank import MapBank
from pretrain.masking.base import WeightedMasking
from pretrain.masking.measured import Measured
from pretrain.masking.random import RandomMasking

MASKINGS.import_from_location()
STRATEGIES = sorted(MASKINGS.module_dict)
MEASURED = [name for name in STRATEGIES if issubclass(MASKINGS.get(name), Measured)]
WEIGHTED = [name for name in STRATEGIES if issubclass(MASKINGS.get(name), WeightedMasking)]
SHARING = [name for name in STRATEGIES if MASKINGS.get(name).shares_visible]
NUM_IMAGES = 9


def cases(names):
    found = [(name, maps) for name in names for maps in ([False, True] if name in MEASURED else [False])]
    return pytest.mark.parametrize("name, maps", found, ids=[name + "-maps" * maps for name, maps in found])


EVERY_STRATEGY = cases(STRATEGIES)
EVERY_WEIGHTED_STRATEGY = cases(WEIGHTED)


def build(name, mask_ratio, throw_ratio=0.0, maps=False, **kwargs):
    """`maps`: True for random ones, or an array [n, h, w]."""
    strategy = MASKINGS.build(dict(type=name, mask_ratio=mask_ratio, throw_ratio=throw_ratio, **kwargs))
    if maps is True:
        maps = np.random.default_rng(0).random((NUM_IMAGES, 7, 6))
        if strategy.crop_mode == "nearest":  # labels
            maps = (5 * maps).round()
    if maps is not False:
        strategy.bank = MapBank(np.asarray(maps, dtype=np.float16))
    return strategy


def sample_batch(batch, grid, seed=0):
    """Random images with random crops and flips."""
    random = torch.Generator().manual_seed(seed)
    corners = 0.5 * torch.rand(batch, 2, generator=random)
    record = AugRecord(
        index=torch.randint(NUM_IMAGES, (batch,), generator=random),
        seed=mix(torch.arange(batch) + 1000 * seed).abs(),
        box=torch.cat([corners, corners + 0.1 + 0.4 * torch.rand(batch, 2, generator=random)], dim=1),
        flip=torch.rand(batch, generator=random) < 0.5,
    )
    return torch.randn(batch, 3, grid[0] * 2, grid[1] * 2, generator=random), record


def draw(strategy, grid, batch=3, seed=0) -> TokenLayout:
    images, record = sample_batch(batch, grid, seed)
    return strategy(images, record, grid, SampleGenerator(record.seed))


def same_image(batch, grid, index=0):
    """One image, whole, with a seed for each copy."""
    images = torch.zeros(1, 3, grid[0] * 2, grid[1] * 2).expand(batch, -1, -1, -1)
    record = AugRecord(
        index=torch.full((batch,), index),
        seed=mix(torch.arange(batch)).abs(),
        box=torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(batch, 4),
        flip=torch.zeros(batch, dtype=torch.bool),
    )
    return images, record


def drawing_order(strategy, images, record, grid):
    """With throw='middle', masked, thrown and visible patches one after the other are the order of drawing."""
    layout = strategy(images, record, grid, SampleGenerator(record.seed))
    return torch.cat([layout.masked, layout.thrown, layout.visible], dim=1)


# Every strategy.


@EVERY_STRATEGY
@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (4, 6), (7, 9), (5, 3)], ids=str)
def test_roles_are_disjoint_complete_and_exactly_counted(name, maps, grid):
    num_patches = grid[0] * grid[1]
    for ratios in [(0.75, 0.0), (0.45, 0.4), (0.0, 0.0), (0.02, 0.0), (0.95, 0.0), (0.6, 0.15), (0.0, 0.5)]:
        strategy = build(name, *ratios, maps)
        masked, hidden = int(num_patches * ratios[0] + 1e-9), int(num_patches * sum(ratios) + 1e-9)
        for batch in (1, 4):
            layout = draw(strategy, grid, batch)
            patches = torch.cat(list(layout), dim=1).sort(1).values
            assert torch.equal(patches, torch.arange(num_patches).expand(batch, -1)), ratios
            assert [part.shape[1] for part in layout] == [num_patches - hidden, masked, hidden - masked], ratios
            assert all(part.dtype == torch.int64 for part in layout)


@EVERY_STRATEGY
def test_the_seed_decides_and_the_rest_of_the_batch_does_not(name, maps):
    grid = (8, 8)
    strategy = build(name, 0.5, 0.2, maps)
    images, record = sample_batch(6, grid)
    first, again = (strategy(images, record, grid, SampleGenerator(record.seed)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    other = strategy(images, record, grid, SampleGenerator(record.seed + 1))
    assert (first.roles() != other.roles()).any(1).all()
    for b in range(6):
        one = slice(b, b + 1)
        alone = strategy(images[one], AugRecord(*(field[one] for field in record)), grid,
                         SampleGenerator(record.seed[one]))
        assert all(torch.equal(part, whole[one]) for part, whole in zip(alone, first))


@cases([name for name in STRATEGIES if name not in SHARING])
def test_each_mask_of_an_image_is_a_draw_of_its_own(name, maps):
    grid, masks = (8, 8), 3
    strategy = build(name, 0.5, 0.2, maps)
    images, record = sample_batch(5, grid)
    generator = SampleGenerator(record.seed).spread(masks)
    layout = strategy(images, record, grid, generator)
    single = strategy(images, record, grid, SampleGenerator(record.seed))
    assert all(torch.equal(part[::masks], first) for part, first in zip(layout, single))
    for k in range(masks):  # as of an image that comes alone, with a seed of its own
        alone = strategy(images, record, grid, SampleGenerator(generator.seed[k::masks]))
        assert all(torch.equal(part[k::masks], other) for part, other in zip(layout, alone))
    roles = layout.roles().unflatten(0, (5, masks))
    assert all((roles[:, k] != roles[:, other]).any(1).all() for k in range(masks) for other in range(k))


@cases(SHARING)
def test_masks_that_share_what_is_visible_hide_other_patches(name, maps):
    grid, masks = (8, 8), 3
    images, record = sample_batch(5, grid)
    layout = build(name, 0.15, 0.5, maps)(images, record, grid, SampleGenerator(record.seed).spread(masks))
    visible, masked, thrown = (part.unflatten(0, (5, masks)) for part in layout)
    assert (visible == visible[:, :1]).all()
    assert all((masked[:, k] != masked[:, other]).any(1).all() for k in range(masks) for other in range(k))
    patches = torch.cat([visible, masked, thrown], dim=2).sort(2).values
    assert (patches == torch.arange(64)).all()


@EVERY_STRATEGY
def test_draws_stay_on_the_device_of_the_images_and_in_full_precision(name, maps):
    # A tensor made without `device=` would land on the meta device here, and not on the GPU of the images there.
    grid = (8, 8)
    strategy = build(name, 0.5, 0.2, maps)
    images, record = sample_batch(3, grid)
    expected = strategy(images, record, grid, SampleGenerator(record.seed))
    with torch.device("meta"):
        layout = strategy(images, record, grid, SampleGenerator(record.seed))
    assert all(torch.equal(a, b) for a, b in zip(layout, expected))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layout = strategy(images, record, grid, SampleGenerator(record.seed))
    assert all(torch.equal(a, b) for a, b in zip(layout, expected))


@EVERY_STRATEGY
def test_every_patch_reaches_every_role(name, maps):
    layout = draw(build(name, 0.4, 0.3, maps), (4, 6), batch=600)
    for part in layout:
        assert len(part.unique()) == 24


@EVERY_STRATEGY
def test_units_have_one_role(name, maps):
    layout = draw(build(name, 0.5, 0.25, maps, unit=2), (6, 8))
    cells = layout.roles().view(3, 3, 2, 4, 2)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert [part.shape[1] for part in layout] == [12, 24, 12]
    with pytest.raises(UserError, match="7 x 8 patches and unit=2"):
        draw(build(name, 0.5, maps=maps, unit=2), (7, 8))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("kwargs", [dict(mask_ratio=1.0), dict(mask_ratio=-0.1), dict(throw_ratio=0.6), dict(unit=0)])
def test_impossible_ratios_are_refused(name, kwargs):
    with pytest.raises(UserError, match=rf"{name}: got .*expected"):
        build(name, **{"mask_ratio": 0.4} | kwargs)


# Strategies that draw by weight.


@EVERY_WEIGHTED_STRATEGY
def test_first_draws_have_the_frequencies_of_the_weights(name, maps):
    grid, batch = (3, 4), 6000
    if maps:
        maps = np.arange(24, dtype=np.float64).reshape(1, 4, 6)
        maps[0, 1:3] = 0
    strategy = build(name, 0.5, 0.25, maps)
    images, record = same_image(batch, grid)
    weights = strategy.weights(images, record, grid)
    assert weights.shape == (batch, 12) and (weights == weights[0]).all()
    drawn = weights[0] > 0
    assert drawn.all() == (maps is False)  # the maps have zeros
    counts = torch.bincount(drawing_order(strategy, images, record, grid)[:, 0], minlength=12)
    assert (counts[~drawn] == 0).all()
    expected = batch * weights[0, drawn].double() / weights[0].double().sum()
    assert stats.chisquare(counts[drawn].numpy(), expected.numpy()).pvalue > 1e-3


@EVERY_WEIGHTED_STRATEGY
def test_orders_are_distributed_as_by_multinomial_without_replacement(name, maps):
    grid, batch = (2, 2), 12000
    strategy = build(name, 0.5, 0.25, np.array([[[1.0, 2.0], [4.0, 8.0]]]) if maps else False)
    images, record = same_image(batch, grid)
    weights = strategy.weights(images, record, grid)
    torch.manual_seed(0)
    for orders in (drawing_order(strategy, images, record, grid), torch.multinomial(weights, 4)):
        orders, counts = np.unique(orders.numpy(), axis=0, return_counts=True)
        w = weights[0].double().numpy()
        assert [tuple(order) for order in orders] == list(permutations(range(4)))
        # Plackett-Luce: each draw in proportion to the weights that are left.
        exact = [np.prod([w[order[i]] / w[order[i:]].sum() for i in range(4)]) for order in orders]
        assert stats.chisquare(counts, batch * np.array(exact)).pvalue > 1e-3


@cases([name for name in WEIGHTED if name in MEASURED or name == "RandomMasking"])
def test_without_any_weight_all_patches_are_alike(name, maps):
    grid, batch = (2, 3), 3000
    strategy = build(name, 0.5, maps=np.zeros((1, 2, 3)) if maps else False)
    order = drawing_order(strategy, *same_image(batch, grid), grid)
    for position in (0, 5):
        assert stats.chisquare(torch.bincount(order[:, position], minlength=6).numpy()).pvalue > 1e-3


class SteepMasking(WeightedMasking):
    """Draw patch after patch: each is a million times likelier than the next."""

    def weights(self, images, record, cells):
        return torch.logspace(0, -30, 6).expand(len(images), 6)


def test_throw_takes_the_middle_or_the_end_of_the_order():
    images, record = same_image(50, (2, 3))
    for throw, visible, thrown in (("middle", [4, 5], [2, 3]), ("lowest", [2, 3], [4, 5])):
        strategy = SteepMasking(2 / 6, 2 / 6, throw=throw)
        layout = strategy(images, record, (2, 3), SampleGenerator(record.seed))
        for part, expected in zip(layout, (visible, [0, 1], thrown)):
            assert (part == torch.tensor(expected)).all()
    with pytest.raises(UserError, match="SteepMasking: got throw='highest'; expected"):
        SteepMasking(0.5, throw="highest")


@pytest.mark.parametrize("name", [name for name in WEIGHTED if name in MEASURED])
@pytest.mark.parametrize("maps", [False, True])
def test_what_is_thrown_does_not_change_what_is_masked(name, maps):
    middle, lowest = (draw(build(name, 0.5, 0.2, maps, throw=throw), (4, 5)) for throw in ("middle", "lowest"))
    assert torch.equal(middle.masked, lowest.masked)
    assert torch.equal(torch.cat([middle.thrown, middle.visible], 1), torch.cat([lowest.visible, lowest.thrown], 1))


# Strategies that measure.


@pytest.mark.parametrize("name", MEASURED)
def test_the_warm_up_decides_until_there_are_maps(name):
    warmup = dict(type="RandomMasking", mask_ratio=0.75)
    strategy = build(name, 0.45, 0.4, warmup=warmup)
    before, random = draw(strategy, (8, 8)), draw(RandomMasking(0.75), (8, 8))
    assert not strategy.ready and all(torch.equal(a, b) for a, b in zip(before, random))
    strategy = build(name, 0.45, 0.4, maps=True, warmup=warmup)
    after, without = draw(strategy, (8, 8)), draw(build(name, 0.45, 0.4, maps=True), (8, 8))
    assert strategy.ready and all(torch.equal(a, b) for a, b in zip(after, without))


@pytest.mark.parametrize("name", MEASURED)
def test_the_maps_decide(name):
    one, other = (build(name, 0.5, maps=np.random.default_rng(k).integers(0, 5, (NUM_IMAGES, 8, 8))) for k in range(2))
    assert not torch.equal(draw(one, (8, 8)).mask(), draw(other, (8, 8)).mask())


# Random masking, counts and layouts.


def test_random_masking_is_uniform():
    layout = draw(RandomMasking(0.25), (4, 4), batch=6000)
    counts = torch.bincount(layout.masked[:, 0], minlength=16).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    assert np.abs(layout.mask().float().mean(0) - 0.25).max() < 0.03


def test_masks_of_an_image_are_independent():
    """The first patches of two masks: all pairs alike. And masks overlap as often as those of two images."""
    seeds = SampleGenerator.from_seed(0, 8000).seed
    images = torch.zeros(1, 3, 8, 8).expand(8000, -1, -1, -1)
    layout = RandomMasking(0.25)(images, None, (2, 2), SampleGenerator(seeds).spread(3))
    first = layout.masked.view(8000, 3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        pairs = torch.bincount(4 * first[:, one] + first[:, other], minlength=16)
        assert stats.chisquare(pairs.numpy()).pvalue > 1e-3


def test_published_counts():
    # AMT (arXiv 2211.15362) and MAE at 14 x 14: masked 88, thrown 78, visible 30; and 117, 30, 49; MAE masks 147.
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
    two = torch.cat([tokens, tokens + 10])  # two masks of each image
    assert take(two, torch.tensor([[1], [2], [3], [0]])).tolist() == [[[2, 3]], [[4, 5]], [[16, 17]], [[10, 11]]]


def test_the_strategy_of_the_readme_fulfils_the_contract():
    """As a user writes it: the README's lines in a file of their own."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (block,) = (part for part in readme.split("```python\n") if "CentreMasking(" in part)
    try:
        exec(block.partition("```")[0], {})
        for maps_and_grid in [(False, (14, 14)), (False, (5, 3))]:
            test_roles_are_disjoint_complete_and_exactly_counted("CentreMasking", *maps_and_grid)
        for check in (test_the_seed_decides_and_the_rest_of_the_batch_does_not, test_every_patch_reaches_every_role,
                      test_draws_stay_on_the_device_of_the_images_and_in_full_precision, test_units_have_one_role,
                      test_first_draws_have_the_frequencies_of_the_weights,
                      test_orders_are_distributed_as_by_multinomial_without_replacement):
            check("CentreMasking", False)
    finally:
        del MASKINGS.module_dict["CentreMasking"]
