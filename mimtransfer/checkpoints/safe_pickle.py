"""Read tensors out of two kinds of pickles that `torch.load(weights_only=True)` does not take, running nothing of them.

TorchScript archives (`torch.jit.save`; OpenAI publishes CLIP so): only the table of attributes is read, not the code.
Pickles of numpy arrays (detectron2's model zoo). Whatever a pickle names is looked up in the tables below and nowhere
else, and these hold plain containers only.
"""
from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mimtransfer.checkpoints.limits import BoundedUnpickler, settle

_STORAGES = {
    "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16, "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}


class _Dtype:
    """Stand in for `numpy.dtype`: numbers only, and unpickling can change nothing but their byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) and len(code) < 9 else np.dtype("O")
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.dtype({str(code)!r})")

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand in for `numpy.ndarray`, which a pickle makes empty and then fills; called with a shape it takes any memory.
    """

    def __init__(self, *arguments: Any) -> None:
        if arguments:
            raise pickle.UnpicklingError("Unsupported global: GLOBAL numpy.ndarray()")
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


class _Module:
    """Stand in for a module of TorchScript: unpickling sets attributes, and nothing else."""

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Module):
                yield from value.tensors(f"{prefix}{name}.")


class Attributes:
    """Stand in for an `nn.Module` in a pickle: unpickling sets attributes, and nothing else."""

    _parameters: dict[str, Tensor | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Attributes | None]

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers by name, as a state dict has them."""
        for name, tensor in {**self._parameters, **self._buffers}.items():
            if tensor is not None and name not in getattr(self, "_non_persistent_buffers_set", ()):
                yield prefix + name, tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                yield from module.tensors(f"{prefix}{name}.")


def _scalar(dtype: _Dtype, raw: bytes | str) -> float:
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype)[0].item()


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _empty_bytes() -> bytes:
    return b""


def _from_buffer(raw: bytes, dtype: _Dtype, shape: tuple, order: Literal["C", "F"]) -> _Array:
    array = _Array()
    array.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)
    return array


def _number(dtype: _Dtype, raw: bytes | str) -> np.generic:
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype)[0]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL _codecs.encode({encoding!r})")
    return text.encode("latin1")


_NUMPY = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "_codecs.encode": _latin1,
    "__builtin__.bytes": _empty_bytes,  # of protocol 2
    "collections.OrderedDict": dict,
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},  # of protocol 5
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


def named(stand_in: Any, name: str) -> Any:
    """Give a stand-in the full name that torch's allow-list shall know it by (before 2.6 it takes no pairs)."""
    module, _, name = name.rpartition(".")
    if isinstance(stand_in, type):
        return type(name, (stand_in,), {"__module__": module})

    def alias(*args: Any) -> Any:
        return stand_in(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


def numpy_stand_ins() -> list[Any]:
    """Return what `torch.load(weights_only=True)` shall take for numpy's numbers and arrays; `array_of` undoes it."""
    array = named(_Array, "numpy.ndarray")
    made = {"multiarray._reconstruct": lambda *_: array(), "multiarray.scalar": _number}
    # Protocol 2 writes no bytes for an empty array, and the names of Python 2, which torch 2.4 does not translate.
    empty = [named(_empty_bytes, f"{builtins}.bytes") for builtins in ("builtins", "__builtin__")]
    encode = named(_latin1, "_codecs.encode")  # how protocol 2 writes bytes; torch 2.4 knows them by no name
    return [array, named(_Dtype, "numpy.dtype"), encode, *empty] + [  # numpy 1 writes numpy.core, numpy 2 numpy._core
        named(function, f"numpy.{core}.{name}") for core in ("core", "_core") for name, function in made.items()
    ]


def array_of(value: Any) -> Any:
    """Return the numpy array or dtype that a stand-in is for, and everything else as it is."""
    if isinstance(value, _Array):
        return value.value.astype(value.value.dtype.newbyteorder("="))
    return value.dtype if isinstance(value, _Dtype) else value


class _Unpickler(BoundedUnpickler):
    """Resolve the names of a pickle in `known` only."""

    known: dict[str, Any] = _NUMPY

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.known:
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL {module}.{name}")
        return self.known[f"{module}.{name}"]


class _ScriptUnpickler(_Unpickler):
    """Read the attributes of a TorchScript archive; tensors come from its records."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}data.pkl"))
        self.archive, self.root = archive, root
        self.storages: dict[Any, Any] = {}
        # Lists of numbers pass as they are.
        lists = {f"torch.jit._pickle.build_{kind}list": list for kind in ("int", "double", "bool", "tensor")}
        dtypes = {f"torch.{name}": dtype for name, dtype in _STORAGES.items()}
        rebuild = {"torch._utils._rebuild_tensor_v2": self._tensor, "collections.OrderedDict": dict}
        self.known = rebuild | lists | dtypes

    def find_class(self, module: str, name: str) -> Any:
        # A class of its own each time, so that no file can change what another one is read with.
        return type("Module", (_Module,), {}) if module.startswith("__torch__") else super().find_class(module, name)

    def persistent_load(self, pid: tuple) -> tuple[torch.dtype, str]:
        _, dtype, key, _, _ = pid
        return dtype, key

    def _tensor(self, storage: tuple[torch.dtype, str], offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
        dtype, key = storage
        if (key, dtype) not in self.storages:  # once, however many tensors share it
            raw = bytearray(self.archive.read(f"{self.root}data/{key}"))
            self.storages[key, dtype] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return self.storages[key, dtype].as_strided(size, stride, offset)


def read_arrays(path: str) -> Any:
    """Read a pickle of plain containers, numbers and numpy arrays; arrays become tensors.

    Raises:
        pickle.UnpicklingError: the pickle names anything else, or has no arrays.
    """
    with open(path, "rb") as file:
        content = _Unpickler(file, encoding="latin1").load()
    count = 0

    def tensor_of(value: Any) -> Any:
        nonlocal count
        if not isinstance(value, _Array):
            return value
        count += 1
        return torch.from_numpy(array_of(value))

    content = settle(content, os.path.getsize(path), tensor_of)
    if not count:
        raise pickle.UnpicklingError("WeightsUnpickler error: a pickle without arrays, not written by torch.save")
    return content


def read_torchscript(archive: zipfile.ZipFile, num_bytes: int) -> dict[str, Tensor]:
    """Read parameters and buffers of a TorchScript archive by name.

    Args:
        num_bytes: size of the archive.

    Raises:
        pickle.UnpicklingError: its attributes hold anything but modules, tensors, numbers and plain containers.
    """
    root = next(name for name in archive.namelist() if _is_constants(name)).removesuffix("constants.pkl")
    return dict(settle(_ScriptUnpickler(archive, root).load(), num_bytes, array_of).tensors())


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Tell an archive of `torch.jit.save` from one of `torch.save`."""
    return any(map(_is_constants, archive.namelist()))


def _is_constants(name: str) -> bool:
    return name.partition("/")[2] == "constants.pkl"
