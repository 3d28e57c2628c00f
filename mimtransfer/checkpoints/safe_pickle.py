"""Read tensors out of two kinds of pickles that `torch.load(weights_only=True)` does not take, running nothing of them.

TorchScript archives (`torch.jit.save`; OpenAI publishes CLIP so): only the table of attributes is read, not the code.
Pickles of numpy arrays (detectron2's model zoo). Whatever a pickle names is looked up in the tables below and nowhere
else, and these hold plain containers only.
"""
from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

_STORAGES = {
    "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16, "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}


class _Dtype:
    """Stand in for `numpy.dtype`: numbers only, and unpickling can change nothing but their byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype("O")
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.dtype({str(code)!r})")

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand in for `numpy.ndarray`."""

    def __init__(self, *_: Any) -> None:
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


def _scalar(dtype: _Dtype, raw: bytes | str) -> float:
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.dtype)[0].item()


def _from_buffer(raw: bytes, dtype: _Dtype, shape: tuple, order: Literal["C", "F"]) -> _Array:
    array = _Array()
    array.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)
    return array


_NUMPY = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "_codecs.encode": lambda text, encoding: text.encode(encoding),
    "__builtin__.bytes": lambda: b"",  # of protocol 2
    "collections.OrderedDict": dict,
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},  # of protocol 5
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
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
        raw = bytearray(self.archive.read(f"{self.root}data/{key}"))
        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return flat.as_strided(size, stride, offset)


def read_arrays(path: str) -> Any:
    """Read a pickle of plain containers, numbers and numpy arrays; arrays become tensors.

    Raises:
        pickle.UnpicklingError: the pickle names anything else, or has no arrays.
    """
    with open(path, "rb") as file:
        content = _Unpickler(file, encoding="latin1").load()
    count = 0

    def plain(value: Any) -> Any:
        nonlocal count
        if isinstance(value, _Array):
            count += 1
            return torch.from_numpy(value.value.astype(value.value.dtype.newbyteorder("=")))
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    content = plain(content)
    if not count:
        raise pickle.UnpicklingError("WeightsUnpickler error: a pickle without arrays, not written by torch.save")
    return content


def is_torchscript(path: str) -> bool:
    """Tell an archive of `torch.jit.save` from one of `torch.save`."""
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def read_torchscript(path: str) -> dict[str, Tensor]:
    """Read parameters and buffers of a TorchScript archive by name.

    Raises:
        pickle.UnpicklingError: its attributes hold anything but modules, tensors, numbers and plain containers.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.partition("/")[2] == "constants.pkl")
        return dict(_ScriptUnpickler(archive, root.removesuffix("constants.pkl")).load().tensors())
