"""Shared memory of a loader's worker is used again, and never while a batch in it is referred to."""
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from mimtransfer.datasets import shared_memory
from mimtransfer.datasets.collate import stack_images
from mimtransfer.datasets.shared_memory import MOST_PIECES, SharedBatch, stack_to_send


@pytest.fixture
def pieces(monkeypatch):
    monkeypatch.setattr(shared_memory, "_pieces", [])
    return shared_memory._pieces


def images(value, side=4, dtype=torch.uint8):
    return [torch.full((3, side, side), value + i, dtype=dtype) for i in range(2)]


def sent(batch):
    """Send a batch as a worker's queue does, to this process."""
    return ForkingPickler.loads(ForkingPickler.dumps(SharedBatch(batch)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.uint16, torch.int64])
def test_what_arrives_is_what_was_sent(pieces, dtype):
    inputs = stack_to_send(images(3, dtype=dtype)).permute(0, 2, 3, 1)
    others = dict(label=torch.tensor([1, 2]), flip=torch.tensor(True), half=torch.ones(2, dtype=torch.bfloat16),
                  names=["a", "b"], large=torch.arange(20_000))
    got = sent(dict(inputs=inputs, **others))
    assert type(got) is dict and list(got) == ["inputs", *others]
    assert got["inputs"].dtype == dtype and got["inputs"].stride() == inputs.stride()
    assert torch.equal(got["inputs"].float(), inputs.float()) and got["names"] == ["a", "b"]
    for name in ("label", "flip", "half", "large"):
        assert torch.equal(got[name], others[name]) and got[name].dtype == others[name].dtype


def test_a_piece_is_free_when_nothing_refers_to_its_batch(pieces):
    got = sent(dict(inputs=stack_to_send(images(1))))
    assert len(pieces) == 1 and pieces[0][-1] == 1
    view = got["inputs"][1, :, 2:]
    del got
    assert pieces[0][-1] == 1
    assert stack_to_send(images(7)).data_ptr() != pieces[0].data_ptr() and (view == 2).all()
    del view
    assert pieces[0][-1] == 0
    assert stack_to_send(images(9)).data_ptr() == pieces[0].data_ptr() and len(pieces) == 2


def test_who_keeps_many_batches_gets_memory_of_their_own(pieces):
    kept = [sent(dict(inputs=stack_to_send(images(i)))) for i in range(MOST_PIECES + 3)]
    assert len(pieces) == MOST_PIECES
    assert [int(batch["inputs"][0, 0, 0, 0]) for batch in kept] == list(range(MOST_PIECES + 3))


def test_pieces_grow_with_the_batches_and_serve_smaller_ones(pieces):
    for side in range(2, 2 + MOST_PIECES + 2):
        stack_to_send(images(0, side))
    assert len(pieces) == MOST_PIECES and max(map(len, pieces)) == 2 * 3 * side * side + 1
    assert stack_to_send(images(5, 2)).tolist() == torch.stack(images(5, 2)).tolist()


def test_unlike_images_are_refused_and_leave_the_piece_free(pieces):
    with pytest.raises(RuntimeError, match="equal size"):
        stack_to_send([torch.zeros(3, 4, 4), torch.zeros(3, 4, 5)])
    assert all(not piece[-1] for piece in pieces)


class Numbers(Dataset):
    """Image i is full of i."""

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return dict(inputs=torch.full((8, 8, 3), index, dtype=torch.uint8).permute(2, 0, 1), index=index)


class Counting:
    """Collates, and adds how many pieces the worker has."""

    def __call__(self, samples):
        batch = stack_images(samples)
        batch["pieces"] = len(shared_memory._pieces)
        return SharedBatch(batch)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loader_gives_the_same_batches_however_long_they_are_kept(workers):
    loader = DataLoader(Numbers(), 3, num_workers=workers, collate_fn=stack_images, persistent_workers=True)
    expected = [default_collate([Numbers()[i] for i in range(start, start + 3)]) for start in range(0, 60, 3)]
    for _ in range(2):
        kept = list(loader)
        assert all(torch.equal(a["inputs"], b["inputs"]) and torch.equal(a["index"], b["index"])
                   for a, b in zip(kept, expected, strict=True))
    first = next(iter(loader))["inputs"]
    assert all(int(batch["index"][0]) == int(batch["inputs"][0, 0, 0, 0]) for batch in loader)
    assert torch.equal(first, expected[0]["inputs"])


def test_a_worker_needs_few_pieces_when_batches_are_not_kept():
    loader = DataLoader(Numbers(), 3, num_workers=1, collate_fn=Counting())
    assert max(batch["pieces"] for batch in loader) <= 5  # one is made, two wait, one is on the way, one is looked at
