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
_OF_NUMPY = frozenset([torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16,
                       torch.uint32, torch.uint64, torch.float16, torch.float32, torch.float64, torch.complex64,
                       torch.complex128])
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
        places = {_memory_of(value) for value in _tensors(batch)}
        self._taken = [piece for piece in _pieces if piece.memory.data_ptr() in places]
        for piece in self._taken:  # now, not when it is sent: a thread of the queue sends it while the next is made
            piece.memory[_IN_USE] = True

    def __reduce__(self) -> tuple:
        # One for all values that lie in a piece: what is opened once is given back once, by the last of them.
        pieces = {piece.memory.data_ptr(): _Call(_open_kept, piece.key) if piece.memory[_KEPT] else
                  _Call(_open_new, piece.memory, piece.key, os.getpid()) for piece in self._taken}
        return dict, (_sent(dict(self), pieces),)  # as a collate function left it


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch, also those in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _memory_of(value: Tensor) -> int | None:
    """Return where the memory begins in which a tensor lies; None for one that has no such place."""
    return value.untyped_storage().data_ptr() if value.layout == torch.strided else None


def _sent(value: Any, pieces: Mapping[int, "_Call"]) -> Any:
    """Return what is sent in the place of a value; `pieces`: where the pieces of its batch begin -> what opens each."""
    if isinstance(value, Tensor):
        piece = pieces.get(_memory_of(value) or 0)
        if piece is not None:
            return _Call(_lying_in, piece, value.dtype, value.shape, value.stride(), value.storage_offset())
        plain = value.dtype in _OF_NUMPY and value.layout == torch.strided and not value.requires_grad
        return _Call(torch.from_numpy, value.numpy()) if plain and value.nbytes < _SMALL else value
    if type(value) in (dict, list, tuple):
        return type(value)(_parts(value, pieces))
    return type(value)(*_parts(value, pieces)) if isinstance(value, tuple) and hasattr(value, "_fields") else value


def _parts(value: Any, pieces: Mapping[int, "_Call"]) -> list:
    if isinstance(value, dict):
        return [(key, _sent(part, pieces)) for key, part in value.items()]
    return [_sent(part, pieces) for part in value]


class _Call:
    """What arrives as the result of a function."""

    def __init__(self, function, *args):
        self.made = function, args

    def __reduce__(self) -> tuple:
        return self.made


def _open_new(piece: Tensor, key: int, worker: int) -> np.ndarray:
    """Open a piece that has arrived, and keep it open as long as its worker is one of this process.

    Several threads may be here, each with the batches of a loader (torch's `pin_memory`), so the order counts: what is
    in the list is marked already, and the workers are counted after the list was read. A piece of a worker that lives
    is dropped by nobody else, then; its worker would name what is gone.
    """
    memory, listed = piece.numpy(), list(_kept.items())
    workers = {process.pid: process for process in active_children()}
    for other, (its, owner) in listed:
        if not its[_KEPT] or owner not in workers:
            _kept.pop(other, None)
    if worker in workers:
        memory[_KEPT] = True
        _kept[key] = memory, worker
        weakref.finalize(workers[worker], _kept.pop, key, None).atexit = False
    return _open(memory)


def _open_kept(key: int) -> np.ndarray:
    return _open(_kept[key][0])


def _open(memory: np.ndarray) -> np.ndarray:
    """Return the bytes of a piece; give it back when nothing refers to them any more."""
    array = memory[:_KEPT]
    weakref.finalize(array, _give_back, memory, os.getpid()).atexit = False
    return array


def _lying_in(array: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...],
              offset: int) -> Tensor:
    """Return the tensor that lies in a piece, `offset` elements behind its beginning.

    Its storage holds the array, and every view of it holds the storage. (An array that is cut from the array would hold
    the piece alone.)
    """
    flat = torch.from_numpy(array)
    return flat[: len(array) // dtype.itemsize * dtype.itemsize].view(dtype).as_strided(shape, stride, offset)


def _give_back(memory: np.ndarray, owner: int) -> None:
    """Mark a piece as free; a process that was forked off with a copy of the batch does not."""
    if os.getpid() == owner:
        memory[_IN_USE] = False
