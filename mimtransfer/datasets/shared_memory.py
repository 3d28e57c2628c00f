"""Batches from a loader's worker in shared memory that is used again.

Torch maps a new shared file for each tensor of each batch. The system clears and maps its pages one by one, which takes
longer than to copy the pixels into them: 0.1 ms for an image of 224 x 224. Here a worker keeps a few pieces of shared
memory. The last byte of a piece says whether a batch lies in it: the worker sets it, and the run clears it when nothing
refers to the batch any more, however long that takes. The last but one says that the run keeps the piece open, so that
the worker need not send it again, which costs as much as to make two images: the run sets it, and the worker clears it
when it drops the piece.
"""
import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import active_children
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

# One is filled, two wait in the queue (torch's `prefetch_factor`), the run works on one or two. Whoever keeps more
# batches than these gets the others in memory of their own.
MOST_PIECES = 8
_SMALL = 1 << 16  # bytes; smaller tensors go through the queue itself
_IN_USE, _KEPT = -1, -2  # bytes of a piece
_kept: dict[int, tuple[np.ndarray, int]] = {}  # of this process, a run: key -> a piece of a worker, the worker's pid


class _Piece(NamedTuple):
    """Shared memory of a worker."""

    memory: Tensor  # [bytes + 2] uint8
    key: int


_pieces: list[_Piece] = []  # of this process, a worker


class LateSamples(Sequence):
    """The samples of a batch, made when they are looked at: what `__getitems__` of a data set returns.

    Any collate function finds an ordinary sequence; `stack_images` takes them one by one.

    Args:
        make: item -> sample.
        items: what the sampler gave.
        plain: item -> the sample with numbers in the place of tensors, of which `default_collate` makes the same batch.
    """

    def __init__(self, make: Callable[[Any], Mapping[str, Any]], items: Sequence,
                 plain: Callable[[Any], Mapping[str, Any]] | None = None):
        self._make, self._items, self._plain = make, items, plain or make
        self._made: list[Mapping[str, Any]] | None = None

    def one_by_one(self) -> Iterator[Mapping[str, Any]]:
        """Make each sample, a plain one, when it is asked for, and keep none."""
        return map(self._plain, self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index):
        if self._made is None:
            self._made = [self._make(item) for item in self._items]
        return self._made[index]


def stack_as_they_come(
    samples: Iterable[Mapping[str, Any]], count: int
) -> tuple[list[Mapping[str, Any]], Tensor | None]:
    """Copy each image to its place in a batch before the next one is made.

    So the next one is made in the same memory, which the processor has in its cache and the system has mapped.

    Args:
        samples: `count` of them, at least one; `inputs` are [C, H, W], in memory [H, W, C], or contiguous.

    Returns:
        The same samples, whose `inputs` are views of the batch, and the batch as it lies in memory, [B, C, H, W] or
        [B, H, W, C]; None, and samples as they were or copied, where images differ in shape or dtype. In a worker it
        lies in a piece that the next call takes too, unless it is a value of a `SharedBatch` by then.
    """
    stacked: list[Mapping[str, Any]] = []
    batch: Tensor | None = None

    def place(sample: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal batch
        image = sample["inputs"]
        interleaved = not image.is_contiguous()
        memory = image.permute(1, 2, 0) if interleaved else image
        if not stacked:
            batch = _room(count, memory)
        if batch is None or batch.shape[1:] != memory.shape or batch.dtype != memory.dtype:
            batch = None
            return sample
        placed = batch[len(stacked)]
        if batch.dtype == torch.bfloat16:  # numpy has none
            placed.copy_(memory)
        else:  # to memory that is in no cache, numpy copies in half of torch's time
            np.copyto(placed.numpy(), memory.numpy())
        return {**sample, "inputs": placed.permute(2, 0, 1) if interleaved else placed}

    for placed in map(place, samples):  # not `for sample in samples`: it keeps a sample until it has the next
        stacked.append(placed)
    return stacked, batch


def _room(count: int, image: Tensor) -> Tensor:
    """Return room for `count` images as one: in a free piece in a worker, else in memory of its own."""
    size = count * image.nbytes
    piece = _free_piece(size) if get_worker_info() else None
    if piece is None:
        return image.new_empty(count, *image.shape)
    return piece[:size].view(image.dtype).view(count, *image.shape)


def _free_piece(size: int) -> Tensor | None:
    """Return a piece that nobody uses, of `size` bytes at least; None if there is none and none may be added."""
    free = [number for number, piece in enumerate(_pieces) if not piece.memory[_IN_USE]]
    for number in free:
        if len(_pieces[number].memory) >= size + 2:
            return _pieces[number].memory
    if len(_pieces) == MOST_PIECES:
        if not free:
            return None
        _pieces.pop(free[0]).memory[_KEPT] = False  # batches have grown
    memory = torch.zeros(size + 2, dtype=torch.uint8).share_memory_()
    _pieces.append(_Piece(memory, secrets.randbits(63)))
    return memory


class SharedBatch(dict):
    """A batch made in a worker. It arrives in the run as a plain dictionary of plain tensors with the same values.

    Pieces of shared memory in which its tensors lie are in use from now on, until the run gives them back.
    """

    def __init__(self, batch: Mapping[str, Any]):
        super().__init__(batch)
        places = {value.data_ptr() for value in batch.values() if isinstance(value, Tensor)}
        self._taken = [piece for piece in _pieces if piece.memory.data_ptr() in places]
        for piece in self._taken:  # now, not when it is sent: a thread of the queue sends it while the next is made
            piece.memory[_IN_USE] = True

    def __reduce__(self) -> tuple:
        return dict, ({key: _sent(value, self._taken) for key, value in self.items()},)  # as a collate function left it


def _sent(value: Any, taken: list[_Piece]) -> Any:
    """Return what is sent in the place of a value; `taken` are the pieces of its batch."""
    if not isinstance(value, Tensor):
        return value
    for piece in taken:
        if piece.memory.data_ptr() == value.data_ptr():
            what = value.dtype, value.shape, value.stride()
            if piece.memory[_KEPT]:
                return _Call(_open_kept, piece.key, *what)
            return _Call(_open_new, piece.memory, piece.key, os.getpid(), *what)
    if value.nbytes < _SMALL and value.dtype != torch.bfloat16:  # numpy has none
        return _Call(torch.from_numpy, value.numpy())
    return value


class _Call:
    """What arrives as the result of a function."""

    def __init__(self, function, *args):
        self.made = function, args

    def __reduce__(self) -> tuple:
        return self.made


def _open_new(piece: Tensor, key: int, worker: int, *what: Any) -> Tensor:
    """Open a piece that has arrived, and keep it open as long as its worker is one of this process."""
    memory = piece.numpy()
    workers = {process.pid: process for process in active_children()}
    for other, (its, owner) in list(_kept.items()):
        if not its[_KEPT] or owner not in workers:
            _kept.pop(other, None)
    if worker in workers:
        weakref.finalize(workers[worker], _kept.pop, key, None).atexit = False
        _kept[key] = memory, worker
        memory[_KEPT] = True
    return _open(memory, *what)


def _open_kept(key: int, *what: Any) -> Tensor:
    return _open(_kept[key][0], *what)


def _open(memory: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Return the tensor that begins where a piece begins; give the piece back when no tensor refers to it any more."""
    array = memory[: (len(memory) - 2) // dtype.itemsize * dtype.itemsize]
    # Every view of the result shares its storage, and the storage holds the array. By numpy, since this may happen
    # anywhere, also where torch records or compiles what is done to tensors.
    weakref.finalize(array, _give_back, memory, os.getpid()).atexit = False
    return torch.from_numpy(array).view(dtype).as_strided(shape, stride)


def _give_back(memory: np.ndarray, owner: int) -> None:
    """Mark a piece as free; a process that was forked off with a copy of the batch does not."""
    if os.getpid() == owner:
        memory[_IN_USE] = False
