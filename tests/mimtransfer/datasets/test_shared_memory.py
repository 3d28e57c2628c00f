"""Shared memory of a loader's worker is used again, and never while a batch in it is referred to."""
import functools
import gc
import multiprocessing
import os
import signal
import weakref
from collections import namedtuple
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from threading import Thread

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from mimtransfer.datasets import shared_memory
from mimtransfer.datasets.collate import stack_images
from mimtransfer.datasets.shared_memory import MOST_PIECES, SharedBatch, stack_as_they_come

namedtuple_of_two = namedtuple("namedtuple_of_two", "first second")


@pytest.fixture
def pieces(monkeypatch):
    """Those of this process, which takes itself for a worker."""
    monkeypatch.setattr(shared_memory, "_pieces", [])
    monkeypatch.setattr(shared_memory, "get_worker_info", object)
    return shared_memory._pieces


def images(value, side=4, dtype=torch.uint8):
    return [torch.full((3, side, side), value + i, dtype=dtype) for i in range(2)]


def stacked(images):
    return stack_as_they_come([{"inputs": image} for image in images], len(images))[1]


def sent(batch):
    """Send a batch as a worker's queue does, to this process."""
    return ForkingPickler.loads(ForkingPickler.dumps(SharedBatch(batch)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.uint16, torch.int64])
def test_what_arrives_is_what_was_sent(pieces, dtype):
    inputs = stacked(images(3, dtype=dtype)).permute(0, 2, 3, 1)
    others = dict(label=torch.tensor([1, 2]), flip=torch.tensor(True), half=torch.ones(2, dtype=torch.bfloat16),
                  names=["a", "b"], large=torch.arange(20_000))
    got = sent(dict(inputs=inputs, **others))
    assert type(got) is dict and list(got) == ["inputs", *others]
    assert got["inputs"].dtype == dtype and got["inputs"].stride() == inputs.stride()
    assert torch.equal(got["inputs"].float(), inputs.float()) and got["names"] == ["a", "b"]
    for name in ("label", "flip", "half", "large"):
        assert torch.equal(got[name], others[name]) and got[name].dtype == others[name].dtype


def test_a_part_of_the_images_may_be_sent(pieces):
    """As a collate function leaves it that takes every other column of what `stack_images` gave."""
    whole = stacked(images(3)) + torch.arange(4, dtype=torch.uint8)
    inputs = stacked(list(whole))[..., ::2]
    assert torch.equal(sent(dict(inputs=inputs))["inputs"], whole[..., ::2])


def test_a_piece_is_free_when_nothing_refers_to_its_batch(pieces):
    got = sent(dict(inputs=stacked(images(1))))
    assert len(pieces) == 1 and pieces[0].memory[-1] == 1
    view = got["inputs"][1, :, 2:]
    del got
    assert pieces[0].memory[-1] == 1
    assert stacked(images(7)).data_ptr() != pieces[0].memory.data_ptr() and (view == 2).all()
    del view
    assert pieces[0].memory[-1] == 0
    assert stacked(images(9)).data_ptr() == pieces[0].memory.data_ptr() and len(pieces) == 2


def test_a_piece_is_free_when_nothing_refers_to_any_value_in_it(pieces):
    """A collate function may put one image in two places, or parts of it, at any depth."""
    inputs = stacked(images(1))
    got = sent(dict(inputs=inputs, again=inputs, parts=[inputs[1:], {"rows": (inputs[:, :, 2:],)}],
                    pair=namedtuple_of_two(inputs[1].view(torch.int8), torch.arange(3))))
    assert torch.equal(got["again"], got["inputs"]) and torch.equal(got["parts"][0], got["inputs"][1:])
    assert torch.equal(got["parts"][1]["rows"][0], got["inputs"][:, :, 2:]) and got["pair"].first.dtype == torch.int8
    assert torch.equal(got["pair"].first.view(torch.uint8), got["inputs"][1])
    assert got["pair"].second.tolist() == [0, 1, 2]
    for name in ("inputs", "again", "pair"):
        del got[name]
        assert pieces[0].memory[-1] == 1
    row = got.pop("parts")[1]["rows"][0]
    stacked(images(7))  # of the next batch
    assert row[:, 0, 0, 0].tolist() == [1, 2] and len(pieces) == 2
    del row
    assert pieces[0].memory[-1] == 0


def test_what_was_alone_in_a_batch_holds_its_piece_too(pieces):
    got = sent(dict(part=stacked(images(1))[1:]))["part"]
    stacked(images(7))
    assert (got == 2).all() and len(pieces) == 2


def test_who_keeps_many_batches_gets_memory_of_their_own(pieces):
    kept = [sent(dict(inputs=stacked(images(i)))) for i in range(MOST_PIECES + 3)]
    assert len(pieces) == MOST_PIECES
    assert [int(batch["inputs"][0, 0, 0, 0]) for batch in kept] == list(range(MOST_PIECES + 3))


def test_pieces_grow_with_the_batches_and_serve_smaller_ones(pieces):
    for side in range(2, 2 + MOST_PIECES + 2):
        stacked(images(0, side))
    assert len(pieces) == MOST_PIECES and max(len(piece.memory) for piece in pieces) == 2 * 3 * side * side + 2
    assert stacked(images(5, 2)).tolist() == torch.stack(images(5, 2)).tolist()


def test_unlike_images_stay_as_they_are_and_leave_the_piece_free(pieces):
    for second in (torch.ones(3, 4, 5), torch.ones(3, 4, 4, dtype=torch.int64), torch.ones(4, 5, 3).permute(2, 0, 1)):
        samples = [{"inputs": torch.zeros(3, 4, 4), "n": 0}, {"inputs": second, "n": 1}, {"inputs": second, "n": 2}]
        got, batch = stack_as_they_come(iter(samples), 3)
        assert batch is None and [sample["n"] for sample in got] == [0, 1, 2]
        assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(got, samples))
        if second.shape == (3, 4, 4):
            assert torch.equal(stack_images(samples)["inputs"], default_collate(samples)["inputs"])
        else:
            with pytest.raises(RuntimeError, match="equal size"):
                stack_images(samples)
    assert all(not piece.memory[-1] for piece in pieces)


@pytest.mark.parametrize("interleaved", [True, False])
def test_samples_are_those_that_were_given(pieces, interleaved):
    samples = [{"label": i, "inputs": image.permute(2, 0, 1) if interleaved else image}
               for i, image in enumerate(torch.rand(5, 4, 6, 3))]
    got, batch = stack_as_they_come(iter(samples), 5)
    for number, (a, b) in enumerate(zip(got, samples, strict=True)):
        assert torch.equal(a["inputs"], b["inputs"]) and a["inputs"].stride() == b["inputs"].stride()
        assert a["label"] == number and list(a) == list(b)
        memory = a["inputs"].permute(1, 2, 0) if interleaved else a["inputs"]
        assert memory.data_ptr() == batch[number].data_ptr()


def test_each_sample_is_dropped_before_the_next_is_made(pieces):
    last = []

    def samples():
        for value in range(4):
            assert not last or last.pop()() is None
            image = torch.full((3, 2, 2), value)
            last.append(weakref.ref(image))
            sample = {"inputs": image}
            del image
            yield sample
            del sample

    assert stack_as_they_come(samples(), 4)[1][:, 0, 0, 0].tolist() == [0, 1, 2, 3]


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
        return batch


def test_a_changed_batch_arrives_as_it_was_left(pieces):
    batch = SharedBatch(dict(inputs=stacked(images(3)), label=torch.tensor([1, 2]), name="a"))
    batch["inputs"], batch["name"] = batch["inputs"].float() / 2, "b"
    batch["label"] += 1
    batch["extra"] = torch.tensor(4)
    got = ForkingPickler.loads(ForkingPickler.dumps(batch))
    assert torch.equal(got["inputs"], torch.stack(images(3)) / 2) and got["label"].tolist() == [2, 3]
    assert got["name"] == "b" and got["extra"] == 4


def test_a_piece_is_given_back_by_the_process_that_received_it_only(pieces):
    got = sent(dict(inputs=stacked(images(1))))
    child = os.fork()
    if not child:  # e.g. a worker of another loader: its copy of the batch goes, the batch is still in use here
        del got
        os._exit(0)
    os.waitpid(child, 0)
    assert pieces[0].memory[-1] == 1
    del got
    assert pieces[0].memory[-1] == 0


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


class Growing(Dataset):
    """Images of 2 to 16 rows, one more with each batch of four."""

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return dict(inputs=torch.full((2 + index // 4, 8, 3), index, dtype=torch.uint8).permute(2, 0, 1))


def test_a_run_keeps_the_pieces_of_its_workers_until_they_end(monkeypatch):
    monkeypatch.setattr(shared_memory, "_kept", {0: (np.ones(9, np.uint8), -1)})  # of a worker that has ended
    loader = DataLoader(Numbers(), 3, num_workers=2, collate_fn=Counting(), persistent_workers=True)
    for _ in range(3):
        pieces = max(batch["pieces"] for batch in loader)
    assert 0 not in shared_memory._kept and 2 <= len(shared_memory._kept) <= 2 * pieces <= 10
    last = next(iter(loader))
    expected = last["inputs"].clone()
    del loader
    gc.collect()
    assert not shared_memory._kept
    assert torch.equal(last["inputs"], expected)  # whoever holds a batch holds its memory


def test_a_piece_is_sent_once_alone(monkeypatch):
    arrived, was = [], shared_memory._open_new

    @functools.wraps(was)  # a worker sends it by its name
    def counted(piece, *what):
        arrived.append(len(piece))
        return was(piece, *what)

    monkeypatch.setattr(shared_memory, "_open_new", counted)
    loader = DataLoader(Numbers(), 3, num_workers=1, collate_fn=stack_images, persistent_workers=True)
    assert sum(1 for _ in range(4) for _ in loader) == 80
    assert 1 <= len(arrived) <= 5


def test_pieces_that_a_worker_has_dropped_are_not_kept(monkeypatch):
    monkeypatch.setattr(shared_memory, "_kept", {})
    loader = DataLoader(Growing(), 4, num_workers=1, collate_fn=stack_images)
    for number, batch in enumerate(loader):
        assert len(shared_memory._kept) <= MOST_PIECES + 1
        assert batch["inputs"].shape == (4, 3, 2 + number, 8) and batch["inputs"][3, 0, 0, 0] == 4 * number + 3


class Noticing(dict):
    """Pieces that are kept, and a function that is called once, after the next one was added."""

    then = None

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        then, self.then = self.then, None
        if then:
            then()


def arrived(key):
    """Open a new piece of this process's only child, as a thread of a loader does."""
    memory = torch.zeros(18, dtype=torch.uint8)
    (worker,) = [process.pid for process in active_children()]
    return memory, shared_memory._open_new(memory, key, worker)


@pytest.fixture
def worker():
    process = multiprocessing.Process(target=signal.pause)
    process.start()
    yield process
    process.terminate()
    process.join()


def test_threads_of_two_loaders_drop_no_piece_of_each_other(monkeypatch, worker):
    """One is cleared up after while the other is being added: its worker would send a name for what is gone."""
    monkeypatch.setattr(shared_memory, "_kept", kept := Noticing())
    kept.then = lambda: threads.append(Thread(target=arrived, args=(2,))) or threads[0].start() or threads[0].join()
    threads = []
    memory, _ = arrived(1)
    assert threads and memory[-2] == 1 and set(kept) == {1, 2}


def test_workers_that_start_meanwhile_keep_their_pieces(monkeypatch, worker):
    """A piece that was added after the workers were counted is of a worker that was not counted."""
    monkeypatch.setattr(shared_memory, "_kept", kept := {})

    def counted():
        found = active_children()
        kept[3] = np.ones(18, np.uint8), -1
        return found

    monkeypatch.setattr(shared_memory, "active_children", counted)
    arrived(1)
    assert set(kept) == {1, 3}
