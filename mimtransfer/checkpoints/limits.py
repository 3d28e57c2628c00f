"""How large, how deep and of what a checkpoint may be: a few bytes of a pickle can stand for a structure that no memory
holds, and for tensors that no reader expects.

`scan_pickle` looks at a pickle before torch reads it, `settle` at what came out.
"""
from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

# Far above any training's: a table of 100 parameter groups, the arguments, the classes of a data set.
MOST_VALUES = 5_000_000
DEEPEST = 100
_LARGEST_INTEGER = 1 << 256  # the state of a random generator has 128 bits
_EXPANDED = 1 << 24  # values of a tensor that repeats its memory
_DTYPES = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


class NotAccepted(Exception):
    """A value that no checkpoint of a training holds; the message says what is wrong with it."""


def scan_pickle(data: Any, start: int = 0) -> int:
    """Refuse a pickle that builds tuples of shared tuples: their hash, as the key of a dict, takes exponential time.

    Args:
        data: bytes or a memory map. Only the instructions that torch's own reader knows are followed; it refuses the
            rest itself.
        start: where the pickle begins.

    Returns:
        Where the pickle ends.

    Raises:
        NotAccepted: a tuple stands for more than `MOST_VALUES` values.
        pickle.UnpicklingError: it has no end, or takes what it has not put there.
    """
    try:
        return _scan(data, start)
    except (IndexError, KeyError) as error:
        raise pickle.UnpicklingError("the pickle ends or breaks in the middle") from error


def _scan(data: Any, i: int) -> int:
    memo: dict[int, int] = {}
    stack: list[int] = []  # how many values each item stands for; what has no hash, or is no tuple, counts as one
    marks: list[int] = []
    while True:
        code = data[i]
        i += 1
        if code == 0x71 or code == 0x72:  # BINPUT, LONG_BINPUT
            slot = data[i] if code == 0x71 else int.from_bytes(data[i : i + 4], "little")
            i += 1 if code == 0x71 else 4
            memo[slot] = stack[-1]
        elif code == 0x68 or code == 0x6A:  # BINGET, LONG_BINGET
            slot = data[i] if code == 0x68 else int.from_bytes(data[i : i + 4], "little")
            i += 1 if code == 0x68 else 4
            stack.append(memo[slot])
        elif code == 0x58:  # BINUNICODE
            i += 4 + int.from_bytes(data[i : i + 4], "little")
            stack.append(1)
        elif code == 0x28:  # MARK
            marks.append(len(stack))
        elif code == 0x74 or 0x85 <= code <= 0x87:  # TUPLE, TUPLE1 to 3
            first = marks.pop() if code == 0x74 else len(stack) - code + 0x84
            size = 1 + sum(stack[first:])
            if size > MOST_VALUES:
                raise NotAccepted(f"its tuples stand for more than {MOST_VALUES:,} values")
            stack[first:] = [size]
        elif code == 0x4A or code == 0x4B or code == 0x4D or code == 0x47:  # BININT, BININT1, BININT2, BINFLOAT
            i += 4 if code == 0x4A else 1 if code == 0x4B else 2 if code == 0x4D else 8
            stack.append(1)
        elif code == 0x63:  # GLOBAL: two lines
            first = i
            for _ in range(2):
                i = data.find(b"\n", i) + 1 or len(data)
            if data[first:i].endswith(b"\nbytearray\n"):  # of any size, and written to; no training saves one
                raise NotAccepted("it holds a bytearray")
            stack.append(1)
        elif code == 0x52 or code == 0x81:  # REDUCE, NEWOBJ: a Size is a tuple, too
            arguments = stack.pop()
            stack[-1] = arguments
        elif code == 0x51:  # BINPERSID
            stack[-1] = 1
        elif code == 0x62 or code == 0x61:  # BUILD, APPEND
            stack.pop()
        elif code == 0x73:  # SETITEM
            del stack[-2:]
        elif code == 0x65 or code == 0x75 or code == 0x90:  # APPENDS, SETITEMS, ADDITEMS
            del stack[marks.pop() :]
        elif code in (0x4E, 0x88, 0x89, 0x29, 0x5D, 0x7D, 0x8F):  # None, True, False, and empty containers
            stack.append(1)
        elif code == 0x55 or code == 0x8A:  # SHORT_BINSTRING, LONG1
            i += 1 + data[i]
            stack.append(1)
        elif code == 0x80:  # PROTO
            i += 1
        else:  # STOP, or what torch refuses
            return i


class BoundedUnpickler(pickle._Unpickler):  # the one in C has no place to look at a tuple
    """Python's own reader, which resolves no name by itself and refuses what `scan_pickle` refuses."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sizes: dict[int, int] = {}  # of tuples, by id; the memo and the stack keep them alive
        self._kept: list[tuple] = []

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name}")

    def load_build(self) -> None:
        """Set attributes of stand-ins; those of a class or function would outlive this file."""
        if callable(self.stack[-2]):
            raise pickle.UnpicklingError("WeightsUnpickler error: it sets attributes of a class")
        load: Callable[[Any], None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]
        load(self)

    dispatch[pickle.BUILD[0]] = load_build

    def _weigh(self) -> None:
        made = self.stack[-1]
        if not made:
            return
        size = 1 + sum(self._sizes.get(id(item), 1) for item in made)
        if size > MOST_VALUES:
            raise NotAccepted(f"its tuples stand for more than {MOST_VALUES:,} values")
        self._sizes[id(made)] = size
        self._kept.append(made)


def _weighed(load: Callable) -> Callable:
    def load_and_weigh(self: BoundedUnpickler) -> None:
        load(self)
        self._weigh()

    return load_and_weigh


for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET):
    BoundedUnpickler.dispatch[_code[0]] = _weighed(BoundedUnpickler.dispatch[_code[0]])


def settle(content: Any, num_bytes: int, replace: Callable[[Any], Any]) -> Any:
    """Check what a file held, and put values in the place of stand-ins.

    Args:
        content: of plain containers; changed in place where it can be.
        num_bytes: size of the file: no tensor or text in it can be larger.
        replace: gives the value of a stand-in, and everything else as it is.

    Raises:
        NotAccepted: nested too deep or into itself, too many values, an integer of hundreds of digits, a tensor that
            is sparse, quantised, on the meta device, of 8-bit floats or larger than the file.
    """
    return _Settling(num_bytes, replace).walk(content)[0]


class _Settling:
    def __init__(self, num_bytes: int, replace: Callable[[Any], Any]) -> None:
        self.num_bytes, self.replace = num_bytes, replace
        self.seen: dict[int, tuple[Any, Any, int, int]] = {}  # id -> value (kept alive), its replacement, size, height
        self.storages: set[int] = set()  # addresses
        self.held = 0  # bytes of all of them
        self.path: list[Any] = []  # keys down to the value

    def walk(self, value: Any) -> tuple[Any, int, int]:
        """Return what takes the value's place, how many values it stands for, and how deep they lie below it."""
        kind = type(value)
        if kind is int:
            if abs(value) >= _LARGEST_INTEGER:
                raise NotAccepted(f"{self._name()} is an integer of {value.bit_length()} bits")
            return value, 1, 0
        if kind is str or kind is float or kind is bool or value is None:
            return value, 1, 0
        known = self.seen.get(id(value))
        if known is None:
            if len(self.path) > DEEPEST:
                raise NotAccepted(f"it is nested more than {DEEPEST} levels deep, or into itself")
            known = self.seen[id(value)] = (value, *self._settled(value))
        _, replacement, size, height = known
        if len(self.path) + height > DEEPEST:
            raise NotAccepted(f"it is nested more than {DEEPEST} levels deep")
        return replacement, size, height

    def _settled(self, value: Any) -> tuple[Any, int, int]:
        if isinstance(value, Tensor):
            self._check_tensor(value)
            return value, 1, 0
        replacement = self.replace(value)
        if replacement is not value:
            return replacement, 1, 0
        if isinstance(value, (bytes, bytearray)) and len(value) > self.num_bytes:
            raise NotAccepted(f"{self._name()} is larger than the file")
        if _has_attributes(value):
            _, size, height = self.walk(vars(value))
            return value, size, height
        if not isinstance(value, (dict, list, tuple)):
            return value, 1, 0
        size, height, changed = 1, 0, {}
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            self.path.append(key)
            new, more, below = self.walk(item)
            self.path.pop()
            size, height = size + more, max(height, below + 1)
            if size > MOST_VALUES:
                raise NotAccepted(f"it stands for more than {MOST_VALUES:,} values")
            if new is not item:
                changed[key] = new
        if changed and isinstance(value, tuple):
            return tuple(changed.get(i, item) for i, item in enumerate(value)), size, height
        into: Any = value
        for key, new in changed.items():
            into[key] = new
        return value, size, height

    def _check_tensor(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise NotAccepted(f"{self._name()} is a sparse tensor")
        if tensor.device.type == "meta":
            raise NotAccepted(f"{self._name()} is a tensor on the meta device, which holds no numbers")
        if tensor.is_quantized or tensor.dtype not in _DTYPES:
            raise NotAccepted(f"{self._name()} is a tensor of {str(tensor.dtype).removeprefix('torch.')}")
        storage = tensor.untyped_storage()
        held, address = storage.nbytes(), storage.data_ptr()
        if tensor.numel() > _EXPANDED and tensor.numel() * tensor.element_size() > held:
            raise NotAccepted(f"{self._name()} claims {tensor.numel():,} values and holds "
                              f"{held // tensor.element_size():,}")
        if address not in self.storages:
            self.storages.add(address)
            self.held += held
            if self.held > self.num_bytes:
                raise NotAccepted(f"its tensors claim more bytes than the file has, {self._name()} among them")

    def _name(self) -> str:
        return repr(".".join(str(key)[:80] for key in self.path[-6:])) if self.path else "it"


def _has_attributes(value: Any) -> bool:
    """Say whether a value is a namespace, a history of mmengine or a stand-in for a module."""
    kind = type(value)
    return kind is argparse.Namespace or hasattr(kind, "tensors") or kind.__name__ == "HistoryBuffer"
