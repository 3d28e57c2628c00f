"""AugRecord, sample_seed and crop_maps."""
import copy
import pickle
from multiprocessing.reduction import ForkingPickler
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pretrain.aug_record import AugRecord, crop_maps, sample_seed
from pretrain.data import RandomResizedCropFlip, StoredImage

fractions = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda ends: ends[1] - ends[0] > 0.05)
grids = st.tuples(st.integers(2, 20), st.integers(2, 20))


def record_of(*boxes_and_flips):
    boxes = [box for box, _ in boxes_and_flips]
    flips = [flip for _, flip in boxes_and_flips]
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    return AugRecord(zeros, zeros, torch.tensor(boxes, dtype=torch.float32), torch.tensor(flips))


def centres(box, flip, grid):
    """Centres of the cells of an augmented image as fractions of the whole image, float64: rows [h'], columns [w']."""
    y0, x0, y1, x1 = box
    rows = y0 + (np.arange(grid[0]) + 0.5) / grid[0] * (y1 - y0)
    columns = x0 + (np.arange(grid[1]) + 0.5) / grid[1] * (x1 - x0)
    return rows, columns[::-1] if flip else columns


@settings(max_examples=60, deadline=None)
@given(fractions, fractions, st.booleans(), grids, grids, st.floats(-3, 3), st.floats(-3, 3))
def test_crop_of_a_ramp_is_the_analytic_ramp(ys, xs, flip, whole, grid, by_row, by_column):
    def ramp(rows, columns):
        return 1 + by_row * rows[:, None] + by_column * columns[None]

    box = (ys[0], xs[0], ys[1], xs[1])
    h, w = whole
    map_ = ramp((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w)
    got = crop_maps(torch.tensor(map_)[None], record_of((box, flip)), grid)[0]
    rows, columns = centres(box, flip, grid)
    # Beyond the outermost centres the map is constant.
    expected = ramp(rows.clip(0.5 / h, 1 - 0.5 / h), columns.clip(0.5 / w, 1 - 0.5 / w))
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(14, 14), (8, 12), (24, 16)]))
def test_a_bright_patch_lands_where_the_image_has_it(seed, grid):
    rng = Random(seed)
    height, width = 100, 160
    top, left, bottom, right = RandomResizedCropFlip(32).draw_box(height, width, rng)
    box, flip = (top / height, left / width, bottom / height, right / width), rng.random() < 0.5
    # A patch of the whole map whose neighbours are seen too, so that nothing of it is cut off.
    h, w = grid
    rows = [i for i in range(h) if box[0] <= (i - 0.5) / h and (i + 1.5) / h <= box[2]]
    columns = [j for j in range(w) if box[1] <= (j - 0.5) / w and (j + 1.5) / w <= box[3]]
    if not rows or not columns:
        return
    i, j = rng.choice(rows), rng.choice(columns)
    map_ = torch.zeros(1, h, w)
    map_[0, i, j] = 1
    got = crop_maps(map_, record_of((box, flip)), grid)[0].double()
    u = ((j + 0.5) / w - box[1]) / (box[3] - box[1])  # its centre as a fraction of the crop
    v = ((i + 0.5) / h - box[0]) / (box[2] - box[0])
    u = 1 - u if flip else u
    mass_row = (got.sum(1) * (torch.arange(h) + 0.5)).sum() / got.sum()
    mass_column = (got.sum(0) * (torch.arange(w) + 0.5)).sum() / got.sum()
    assert abs(mass_row - v * h) < 0.5
    assert abs(mass_column - u * w) < 0.5


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_replay_on_a_map_agrees_with_the_pixels_of_the_crop(flip):
    # A smooth picture: its patch means, cropped as a map, must be the patch means of the cropped picture.
    y, x = np.mgrid[0:240, 0:320] / np.array([240, 320])[:, None, None]
    smooth = 127 + 60 * np.sin(2 * y + 0.5) + 60 * np.cos(2.5 * x)
    picture = Image.fromarray(np.repeat(smooth[:, :, None], 3, 2).round().astype(np.uint8))
    transform = RandomResizedCropFlip(224, scale=(0.2, 0.6), flip=flip)
    whole = torch.from_numpy(smooth.reshape(24, 10, 32, 10).mean((1, 3)))
    for seed in range(10):
        pixels, box, flipped = transform(StoredImage(picture), Random(seed))
        seen = pixels[0].float().view(14, 16, 14, 16).mean((1, 3))
        replayed = crop_maps(whole[None], record_of((box, flipped)), (14, 14))[0]
        inner = slice(2, -2)  # away from where the map is constant by convention
        assert (seen - replayed)[inner, inner].abs().max() < 1.0  # of 255
        assert (seen - replayed.flip(1))[inner, inner].abs().max() > 3.0


def test_identity_record_returns_the_map_and_batch_members_keep_apart():
    maps = torch.rand(3, 7, 5)
    whole = (0.0, 0.0, 1.0, 1.0)
    got = crop_maps(maps.half(), record_of((whole, False), (whole, True), (whole, False)), (7, 5))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.stack([maps[0], maps[1].flip(1), maps[2]]).half().float(), atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(fractions, fractions, st.booleans(), grids, grids)
def test_nearest_reads_the_label_under_each_centre(ys, xs, flip, whole, grid):
    box = (ys[0], xs[0], ys[1], xs[1])
    h, w = whole
    labels = torch.arange(h * w).view(1, h, w) + 1000
    got = crop_maps(labels, record_of((box, flip)), grid, mode="nearest")[0]
    assert got.dtype == torch.int64
    rows, columns = centres(box, flip, grid)
    row, column = (got.numpy() - 1000) // w, (got.numpy() - 1000) % w
    # The centre lies in the cell of its label, or on its edge.
    assert (np.abs(rows[:, None] * h - row - 0.5) <= 0.5 + 1e-4).all()
    assert (np.abs(columns[None] * w - column - 0.5) <= 0.5 + 1e-4).all()


def test_a_record_goes_between_processes_as_bytes():
    """Each tensor would take a file descriptor and a handshake of two processes, for every batch."""
    flips = torch.tensor([True, False])
    record = AugRecord(torch.tensor([3, 1]), torch.tensor([2**63 - 1, 0]), torch.rand(2, 4), flips)
    for sent in (record, AugRecord(*(field[0] for field in record))):
        content = bytes(ForkingPickler.dumps(sent))
        got = pickle.loads(content)
        assert type(got) is AugRecord and b"rebuild_storage" not in content and len(content) < 1000
        assert all(a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in zip(got, sent))
    assert copy.deepcopy(record).box is not record.box


def test_crop_maps_refuses_what_does_not_fit():
    record = record_of(((0.0, 0.0, 1.0, 1.0), False))
    with pytest.raises(ValueError, match=r"got maps \[2, 4, 4\], expected \[1, h, w\]"):
        crop_maps(torch.zeros(2, 4, 4), record, (4, 4))
    with pytest.raises(ValueError, match="got mode 'area'"):
        crop_maps(torch.zeros(1, 4, 4), record, (4, 4), mode="area")


def test_sample_seed_is_stable_and_spread():
    # Fixed for all time: a run must be repeatable with a later version.
    assert sample_seed(0, 0, 0) == 1279368494785126216
    assert sample_seed(1, 2, 3) == 7510213797696614745
    seeds = {sample_seed(run, epoch, index) for run in range(4) for epoch in range(10) for index in range(500)}
    assert len(seeds) == 20000
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    # 5 standard deviations of a fair coin thrown 20000 times.
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / 20000**0.5


@given(st.tuples(*[st.integers(0, 2**40)] * 3), st.tuples(*[st.integers(0, 2**40)] * 3))
def test_sample_seed_differs_where_its_numbers_differ(first, second):
    assert (sample_seed(*first) == sample_seed(*second)) == (first == second)
