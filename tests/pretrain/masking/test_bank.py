"""The bank of maps, and the arithmetic of its hook."""
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimtransfer.errors import UserError
from pretrain.hooks.map_bank import MapBankHook, shard
from pretrain.hooks.map_schedule import MapSchedule, needed
from pretrain.masking.bank import MapBank


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("in_file", [True, False])
def test_maps_come_back_in_half_precision(in_file, maps, tmp_path):
    path = tmp_path / "maps.npy"
    bank = MapBank.create(path, 5, (2, 3)) if in_file else MapBank(torch.zeros(5, 2, 3))
    assert (bank.num_images, bank.grid) == (5, (2, 3))
    bank.write(torch.tensor([4, 0, 2]), maps[[4, 0, 2]])
    bank.write(torch.tensor([], dtype=torch.int64), maps[:0])
    bank.flush()
    if in_file:
        bank = MapBank.open(path)
    found = bank.read(torch.tensor([0, 1, 2, 4, 4]))
    assert found.dtype == torch.float32
    expected = maps[[0, 1, 2, 4, 4]].half().float()
    expected[1] = 0  # never written
    assert torch.equal(found, expected)
    found.zero_()  # a copy: the bank keeps its maps
    assert torch.equal(bank.read(torch.tensor([4]))[0], expected[4])


def test_an_open_bank_sees_what_others_write(maps, tmp_path):
    writer = MapBank.create(tmp_path / "maps.npy", 5, (2, 3))
    reader = MapBank.open(tmp_path / "maps.npy")
    writer.write(torch.arange(5), maps)
    assert torch.equal(reader.read(torch.arange(5)), maps.half().float())


def test_a_new_file_leaves_the_old_one_to_its_readers(maps, tmp_path):
    old = MapBank.create(tmp_path / "maps.npy", 5, (2, 3))
    old.write(torch.arange(5), maps)
    new = MapBank.create(tmp_path / "maps.npy", 7, (1, 1))
    assert torch.equal(old.read(torch.arange(5)), maps.half().float())
    assert torch.equal(new.read(torch.arange(7)), torch.zeros(7, 1, 1))


def test_imagenet_costs_half_a_gigabyte_of_disk_and_no_memory(tmp_path):
    path, num_images = tmp_path / "maps.npy", 1_281_167
    bank = MapBank.create(path, num_images, (14, 14))
    last = torch.tensor([0, num_images - 1])
    bank.write(last, torch.stack([torch.full((14, 14), 0.25), torch.eye(14)]))
    assert path.stat().st_size == 392 * num_images + 128 <= 0.51e9
    assert path.stat().st_blocks * 512 >= path.stat().st_size  # reserved: a full disk is found now, not while maps come
    assert isinstance(MapBank.open(path)._maps, np.memmap)
    assert torch.equal(MapBank.open(path).read(last), torch.stack([torch.full((14, 14), 0.25), torch.eye(14)]))


def write_bytes(content):
    return lambda path: path.write_bytes(content)


def cut_off(path):
    MapBank.create(path, 100, (4, 4))
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "no such file; all machines of a run need one folder"),
        (write_bytes(b""), "cannot be read"),
        (write_bytes(b"no array at all" * 20), "cannot be read"),
        (cut_off, "cannot be read"),
        (lambda path: np.save(path, np.zeros((3, 4), np.float16)), "got an array [3, 4] of float16, expected [images,"),
        (lambda path: np.save(path, np.zeros((3, 4, 4))), "got an array [3, 4, 4] of float64, expected [images,"),
    ],
)
def test_what_is_no_bank_gives_one_line(make, message, tmp_path):
    make(tmp_path / "maps.npy")
    with pytest.raises(UserError) as error:
        MapBank.open(tmp_path / "maps.npy")
    assert str(error.value).startswith(f"map bank {tmp_path / 'maps.npy'}") and message in str(error.value)
    assert "\n" not in str(error.value)


@given(st.integers(0, 2_000_000), st.integers(1, 300))
def test_shards_are_contiguous_complete_and_alike(num_images, world_size):
    shards = [shard(num_images, rank, world_size) for rank in range(world_size)]
    assert (shards[0].start, shards[-1].stop) == (0, num_images)
    assert all(first.stop == second.start for first, second in pairwise(shards))
    assert {len(part) for part in shards} <= {num_images // world_size, math.ceil(num_images / world_size)}


@pytest.mark.parametrize(
    "banks, checkpoints, kept",
    [
        ([40, 80, 120], [121, 122], {120}),
        ([40, 80, 120], [119, 120], {80, 120}),  # 120 is where the bank of epoch 120 was measured
        ([40, 80, 120], [40, 200, 400], {40, 120}),
        ([40], [20, 39], set()),
    ],
)
def test_a_checkpoint_needs_the_newest_bank_not_after_it(banks, checkpoints, kept):
    assert needed(banks, checkpoints) & set(banks) == kept


@pytest.mark.parametrize(
    "begin, interval, min_images, max_epochs, num_images, expected",
    [
        (41, 40, 0, 400, 1_281_167, [*range(41, 400, 40)]),  # integers: epochs, as AMT's released code
        (0.1, 0.1, 0, 400, 1_281_167, [*range(40, 400, 40)]),  # shares: as its paper
        (0.1, 0.1, 0, 30, 10_000, [*range(3, 30, 3)]),  # 0.1 * 30 of floats is more than 3
        (0.1, 0.1, 0, 16, 10_000, [2, 4, 5, 7, 8, 10, 12, 13, 15]),  # a share ends with the epoch that it ends in
        (0.1, 0.01, 0, 10, 10_000, [*range(1, 10)]),  # more often than every epoch
        (0.0, 0.5, 0, 3, 100, [0, 2]),
        (2, 0.4, 0, 10, 100, [2, 6]),
        (0.1, 0.1, 45_000, 10, 10_000, [5, 6, 7, 8, 9]),
        (0.5, 0.2, 45_000, 10, 10_000, [5, 7, 9]),  # later than so many images by itself
        (0.9, 1.0, 0, 5, 100, []),  # the end of the last epoch: nothing is left to train
        (40, 40, 0, 10, 100, []),
    ],
)
def test_maps_are_measured_after_epochs_or_shares(begin, interval, min_images, max_epochs, num_images, expected):
    assert MapSchedule(begin, interval, min_images).epochs(max_epochs, num_images) == expected


@pytest.mark.parametrize(
    "begin, interval",
    [(-1, 40), (40, 0), (1.0, 1), (-0.1, 1), (40.0, 40), (True, 1), (0, 0.0), (0, 1.5), (float("nan"), 1), ("0.1", 1)],
)
def test_schedule_outside_its_range_is_refused(begin, interval):
    with pytest.raises(UserError, match=f"begin={begin}, interval={interval}; expected"):
        MapBankHook(begin=begin, interval=interval)


def test_a_number_of_images_below_0_is_refused():
    with pytest.raises(UserError, match="min_images=-1; expected"):
        MapBankHook(min_images=-1)
