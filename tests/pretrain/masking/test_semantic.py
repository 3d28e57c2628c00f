"""Semantic masking: the growth is the process it claims to be, and its regions are what they should be."""
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from mimtransfer.backbones.inspect import view_block
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.masking.bank import MapBank
from pretrain.masking.semantic import SemanticMasking, _capped_order, arrival, colour_similarity, neighbours


def whole_images(batch: int, flip: bool = False) -> AugRecord:
    return AugRecord(torch.zeros(batch, dtype=torch.int64), torch.arange(batch),
                     torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(batch, 4), torch.full((batch,), flip))


def with_labels(labels: np.ndarray, mask_ratio: float = 0.75, **kwargs) -> SemanticMasking:
    """Build a strategy whose bank holds the labels of one image; without randomness outside the regions."""
    strategy = SemanticMasking(mask_ratio, **{"p_random": 0.0, "random_share": 0.0, **kwargs})
    strategy.bank = MapBank(labels[None].astype(np.float16))
    return strategy


def draw(strategy: SemanticMasking, grid, batch: int, seed: int = 0, flip: bool = False) -> TokenLayout:
    images = torch.rand(batch, 3, grid[0] * 4, grid[1] * 4, generator=torch.Generator().manual_seed(seed))
    return strategy(images, whole_images(batch, flip), grid, SampleGenerator.from_seed(seed, batch))


def seen(layout: TokenLayout, grid) -> np.ndarray:
    """Return [B, h, w] bool, True = visible."""
    return (layout.roles() == 0).view(-1, *grid).numpy()


def num_components(visible: np.ndarray) -> int:
    return ndimage.label(visible)[1]


def patchwork(h: int, w: int) -> np.ndarray:
    return np.arange(h)[:, None] // 3 * 3 + np.arange(w)[None] // 4


@settings(deadline=None, max_examples=25)
@given(h=st.integers(1, 6), w=st.integers(1, 6), num_seeds=st.integers(1, 4), spread=st.floats(0, 10),
       number=st.integers(0, 2**31))
def test_arrival_times_are_shortest_paths(h, w, num_seeds, spread, number):
    size = h * w
    generator = torch.Generator().manual_seed(number)
    near = neighbours((h, w))
    passage = torch.rand(1, 4, size, generator=generator, dtype=torch.float64) + 1e-3
    passage = passage * (spread * torch.rand(1, 4, size, generator=generator)).exp()
    seeds = torch.randperm(size, generator=generator)[None, :num_seeds]
    graph = np.zeros((size, size))
    for cell in range(size):
        for k, neighbour in enumerate(near[:, cell].tolist()):
            if neighbour != cell:
                graph[neighbour, cell] = passage[0, k, cell]
    expected = dijkstra(csr_matrix(graph), indices=seeds[0].numpy())
    time, root = (result[0] for result in arrival(passage, near, seeds, steps=size))
    np.testing.assert_allclose(time, expected.min(0), rtol=1e-12)
    assert torch.equal(root, seeds[0, expected.argmin(0)])
    # Few steps suffice for the cells that are reached first, and leave what a seed has reached in one piece.
    count = max(size // 3, num_seeds, 1)
    time, root = (result[0] for result in arrival(passage, near, seeds, steps=count))
    order = np.argsort(expected.min(0), kind="stable")[:count]
    np.testing.assert_allclose(time[order], expected.min(0)[order], rtol=1e-12)
    assert set(time.argsort()[:count].tolist()) == set(order.tolist())
    for seed in seeds[0]:
        for moment in time[time.isfinite()]:
            assert num_components(((root == seed) & (time <= moment)).view(h, w).numpy()) == 1


def test_neighbours_of_a_small_grid():
    above, below, left, right = neighbours((2, 3)).tolist()
    assert above == [0, 1, 2, 0, 1, 2] and below == [3, 4, 5, 3, 4, 5]
    assert left == [0, 0, 1, 3, 3, 4] and right == [1, 2, 2, 4, 5, 5]


def test_the_next_step_crosses_an_edge_in_proportion_to_exp_s_over_t():
    # A row of three, seed in the middle, left neighbour of the same part: odds exp(1/T) : 1.
    strategy = with_labels(np.array([[0, 0, 1]]), num_seeds=1, temperature=1.0)
    order = strategy.region_order(torch.zeros(9000, 3, 4, 12), whole_images(9000), (1, 3),
                                  SampleGenerator.from_seed(0, 9000))
    second = order[order[:, 0] == 1, 1]
    left, right = (second == 0).sum().item(), (second == 2).sum().item()
    expected = math.e / (1 + math.e) * (left + right)
    assert stats.chisquare([left, right], [expected, left + right - expected]).pvalue > 1e-3
    # Memoryless: from the left end, the two cells come in the only possible order.
    assert (order[order[:, 0] == 0] == torch.tensor([0, 1, 2])).all()


@pytest.mark.parametrize("grid", [(8, 8), (6, 9)], ids=str)
@pytest.mark.parametrize("bank", [True, False])
def test_visible_patches_hang_together_with_a_seed(grid, bank):
    strategy = with_labels(patchwork(*grid), num_seeds=3)
    if not bank:
        strategy.bank = None
    images = torch.rand(60, 3, grid[0] * 4, grid[1] * 4)
    order = strategy.region_order(images, whole_images(60), grid, SampleGenerator.from_seed(1, 60))
    for row in order.numpy():
        for count in (1, 3, 8, grid[0] * grid[1] // 4):
            visible = np.zeros(grid[0] * grid[1], bool)
            visible[row[:count]] = True
            assert num_components(visible.reshape(grid)) <= 3
    visible = seen(draw(strategy, grid, 20), grid)
    assert max(map(num_components, visible)) <= 3


def test_a_region_stays_in_its_part_while_there_is_room():
    labels = np.zeros((8, 8), int)
    labels[:, 3:] = 1  # parts of 24 and 40 cells, 16 visible
    visible = seen(draw(with_labels(labels, num_seeds=1, temperature=0.04), (8, 8), 80), (8, 8))
    inside = visible[:, :, :3].sum((1, 2))
    assert set(inside) == {0, 16}
    # With 48 visible a seed in the larger part fills it first.
    full = seen(draw(with_labels(labels, 0.25, num_seeds=1, temperature=0.04), (8, 8), 80), (8, 8))
    assert all(image[:, :3].all() or image[:, 3:].all() for image in full)


def test_no_region_takes_more_than_its_share():
    labels = np.repeat([[0] * 4 + [1] * 4], 8, 0)  # two halves of 32 cells
    for max_share, most in ((0.6, 9), (1.0, 15)):  # int(0.6 * 16) = 9
        strategy = with_labels(labels, num_seeds=2, temperature=0.04, max_share=max_share)
        order = strategy.region_order(torch.zeros(200, 3, 32, 32), whole_images(200), (8, 8),
                                      SampleGenerator.from_seed(0, 200))
        left = order % 8 < 4
        apart = left[:, 0] != left[:, 1]  # the seeds come first
        count = left[apart, :16].sum(1)
        assert 60 < apart.sum() < 140
        assert count.max() <= most and count.min() >= 16 - most
    assert count.max() > 9


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 2**31), cap=st.integers(0, 12))
def test_capped_order_against_a_loop(number, cap):
    state = np.random.RandomState(number)
    time, owner = state.rand(12), state.randint(0, 3, 12)
    taken, early, late = [0, 0, 0], [], []
    for cell in np.argsort(time):
        (early if taken[owner[cell]] < cap else late).append(cell)
        taken[owner[cell]] += 1
    seeds = torch.tensor([[5, 0, 9]])
    order = _capped_order(torch.from_numpy(time)[None], seeds[:, owner], seeds, cap)[0]
    assert order.tolist() == early + late


def test_parts_are_uncovered_whole_and_the_last_contiguously():
    labels = patchwork(9, 8)  # six parts of 12 cells
    strategy = with_labels(labels, regions="parts", num_parts=9)
    corners = []
    for visible in seen(draw(strategy, (9, 8), 60), (9, 8)):  # 18 visible
        shares = [visible[labels == part].mean() for part in np.unique(labels)]
        assert sorted(shares) == [0, 0, 0, 0, 0.5, 1.0]
        cut = np.unique(labels)[shares.index(0.5)]
        assert num_components(visible & (labels == cut)) == 1
        corners.append(visible[labels == cut][0])
    assert 0.1 < np.mean(corners) < 0.6  # the last part grows from any of its cells


def test_labels_follow_crop_and_flip():
    labels = np.ones((8, 8), int)
    labels[:, :2] = 0  # 16 cells at the left
    visible = seen(draw(with_labels(labels, regions="parts", num_parts=2), (8, 8), 40, flip=True), (8, 8))
    first = visible[:, :, 6:].all((1, 2))
    assert 8 < first.sum() < 32 and not visible[first][:, :, :6].any()
    assert not visible[~first][:, :, 6:].any()
    # Enlarged, labels stay labels.
    strategy = with_labels(np.array([[0, 6], [3, 3]]))
    quarter = whole_images(1)._replace(box=torch.tensor([[0.25, 0.25, 0.75, 0.75]]))
    assert strategy.cropped_maps(quarter, (4, 4))[0].tolist() == [[0, 0, 6, 6]] * 2 + [[3] * 4] * 2


def test_images_are_masked_at_random_with_the_given_probability():
    labels = np.zeros((8, 8), int)
    layout = draw(with_labels(labels, num_seeds=1, p_random=0.3), (8, 8), 400)
    scattered = np.array([num_components(v) > 1 for v in seen(layout, (8, 8))])
    assert abs(scattered.mean() - 0.3) < 0.07
    uniform = draw(with_labels(labels, p_random=1.0), (8, 8), 4000).visible[:, 0]
    assert stats.chisquare(torch.bincount(uniform, minlength=64).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("share, in_region", [(0.25, 12), (0.1, 14), (1.0, 0)])
def test_a_share_of_the_visible_patches_lies_anywhere(share, in_region):
    labels = np.repeat([[0] * 4 + [1] * 4], 8, 0)
    strategy = with_labels(labels, num_seeds=1, temperature=0.04, random_share=share)
    layout = draw(strategy, (8, 8), 300)
    assert layout.visible.shape == (300, 16)
    sizes = []
    for image in seen(layout, (8, 8)):
        regions, count = ndimage.label(image)
        sizes.append(np.bincount(regions.ravel())[1:].max())
        assert count <= 1 + 16 - in_region
    assert min(sizes) >= in_region
    # The others are drawn from the 64 - n cells outside: of them a half without seed gets 32 / (64 - n).
    left = seen(layout, (8, 8))[:, :, :4].sum((1, 2))
    fewer = np.minimum(left, 16 - left) if in_region else left
    expected = (16 - in_region) * 32 / (64 - in_region)
    assert abs(fewer.mean() - expected) < 0.35


def test_colour_similarity_against_a_loop():
    colours = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(3))
    near = neighbours((2, 3))
    similarity = colour_similarity(colours, near)
    for image in range(2):
        squares = [[((colours[image, j] - colours[image, near[k, j]]) ** 2).sum().item() for j in range(6)]
                   for k in range(4)]
        expected = np.exp(-np.array(squares) / (2 * np.mean(squares)))
        np.testing.assert_allclose(similarity[image], expected, rtol=1e-5)
    assert (colour_similarity(torch.ones(1, 6, 3), near) == 1).all()


@pytest.mark.parametrize("regions", ["grow", "parts"])
def test_before_the_bank_regions_follow_colours(regions):
    images = torch.zeros(40, 3, 32, 32)
    images[:, 0, :, 12:] = 2.0  # columns 3 to 7 of 8 are red
    strategy = SemanticMasking(0.75, regions=regions, num_seeds=1, num_parts=2, temperature=0.04, p_random=0,
                               random_share=0)
    visible = seen(strategy(images, None, (8, 8), SampleGenerator.from_seed(0, 40)), (8, 8))
    assert set(visible[:, :, :3].sum((1, 2))) == {0, 16}


@pytest.mark.parametrize("regions", ["grow", "parts"])
def test_a_sample_does_not_depend_on_its_batch(regions):
    strategy = SemanticMasking(0.5, 0.2, regions=regions)
    images = torch.rand(5, 3, 32, 32)
    seeds = torch.arange(5) * 1234567
    together = strategy(images, None, (8, 8), SampleGenerator(seeds))
    for i in range(5):
        alone = strategy(images[i:i + 1], None, (8, 8), SampleGenerator(seeds[i:i + 1]))
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together))


def test_measured_labels_survive_half_precision():
    torch.manual_seed(0)
    encoder = TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=4,
                      model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)).eval()
    image = torch.zeros(2, 3, 32, 32)
    image[:, :, :, 16:] = torch.randn(1, 3, 1, 1)
    strategy = SemanticMasking()
    with torch.inference_mode():
        labels = strategy.measure(view_block(encoder, image))
    assert labels.shape == (2, 8, 8) and set(labels.unique().tolist()) <= set(range(8))
    assert torch.equal(labels, labels.half().float())
    assert labels.unique().numel() == 8
    high = SemanticMasking(num_parts=2048)
    numbers = torch.arange(2048.0).view(1, 32, 64)
    high.bank = MapBank(numbers.half())
    assert torch.equal(high.cropped_maps(whole_images(1), (32, 64)), numbers)


def test_units_hold_together():
    strategy = with_labels(np.repeat(np.repeat(np.eye(4, dtype=int), 2, 0), 2, 1), num_seeds=1, unit=2)
    cells = draw(strategy, (8, 8), 20).roles().view(-1, 4, 2, 4, 2)
    assert (cells == cells[:, :, :1, :, :1]).all()


@pytest.mark.parametrize("kwargs, message", [(dict(regions="blobs"), "'grow' or 'parts'"),
                                             (dict(temperature=0.0), "temperature=0.0; expected 0.04"),
                                             (dict(num_seeds=0), "num_seeds=0"), (dict(num_parts=4096), "at most 2048"),
                                             (dict(random_share=1.5), "random_share=1.5; expected both in 0 to 1")])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        SemanticMasking(**kwargs)


def test_growth_order_is_by_time():
    # The regions of a longer visible set contain those of a shorter one, for the same draws.
    strategies = [with_labels(patchwork(8, 8), ratio, max_share=1.0) for ratio in (0.9, 0.75, 0.5)]
    sets = [seen(draw(strategy, (8, 8), 30, seed=4), (8, 8)) for strategy in strategies]
    for smaller, larger in pairwise(sets):
        assert (larger | ~smaller).all()
