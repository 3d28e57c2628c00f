"""Read checkpoint files without running code that they carry.

A `.pth` file is a pickle, and unpickling can call any function of the machine. `torch.load(weights_only=True)`, the
default since torch 2.6, builds tensors and plain containers only. It also refuses what mmengine itself writes (the
message hub keeps the loss history in `HistoryBuffer`s of numpy arrays; mmengine issue 1655) and the
`argparse.Namespace` in training checkpoints of MAE and its kin. `allow_mmengine_checkpoints` admits exactly those.
"""
from __future__ import annotations

import json
import os
import os.path as osp
import pickle
import re
import string
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from mimtransfer.checkpoints.safe_pickle import is_torchscript, read_arrays, read_torchscript
from mimtransfer.errors import UserError, near_files

_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")
# A legacy file begins with this pickled number.
_LEGACY = b"\x8a\n" + torch.serialization.MAGIC_NUMBER.to_bytes(10, "little") + b"."
_ALLOWED = False


def _statistic(owner: type, name: str) -> Any:
    """Stand in for `getattr` in a pickle: give a statistics method of HistoryBuffer, and nothing else.

    A `HistoryBuffer` pickles its table of methods (min, max, mean, current) as `getattr(HistoryBuffer, name)`.
    """
    from mmengine.logging import HistoryBuffer

    methods = HistoryBuffer(())._statistics_methods  # the table of the class, filled by the first instance
    if owner is not HistoryBuffer or methods.get(name) is None:
        owner_name = getattr(owner, "__name__", owner)
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL getattr({owner_name}, {name!r})")
    return methods[name]


def _named(function: Any, module: str, name: str) -> Any:
    """Give a function the import path that torch's allow-list shall know it by (before 2.6 it takes no pairs)."""

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


def allow_mmengine_checkpoints() -> None:
    """Let `torch.load(weights_only=True)`, and so `Runner.resume` and `load_checkpoint`, read mmengine's checkpoints.

    Call it before a Runner loads anything; calling it again does nothing. Where `torch.load` unpickles everything by
    default (torch < 2.6), it also makes safe reading the default of this process, unless TORCH_FORCE_WEIGHTS_ONLY_LOAD
    is set already.
    """
    global _ALLOWED
    if _ALLOWED:
        return
    import argparse
    from _codecs import encode

    import numpy as np
    from mmengine.logging import HistoryBuffer

    reduced: tuple[Any, ...] = np.zeros(0).__reduce__(), np.float64(0).__reduce__()
    multiarray = [parts[0] for parts in reduced]  # _reconstruct, scalar
    # numpy 1 writes numpy.core, numpy 2 numpy._core, and both read either.
    aliases = [
        _named(function, f"numpy.{core}.multiarray", function.__name__)
        for core in ("core", "_core")
        for function in multiarray
    ]
    # Protocol 2 writes the name of Python 2; torch 2.4 and 2.5 look it up as it stands.
    aliases += [_named(_statistic, builtins, "getattr") for builtins in ("builtins", "__builtin__")]
    # Numbers only: the pickled state of an object or structured dtype could forge pointers.
    dtypes = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    torch.serialization.add_safe_globals(
        [HistoryBuffer, argparse.Namespace, np.ndarray, np.dtype, encode, *dtypes, *aliases]
    )
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    _ALLOWED = True


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU.

    Args:
        path: a file of `torch.save` (zip or legacy format), of `torch.jit.save`, of safetensors, or a pickle of numpy
            arrays (detectron2's model zoo).

    Returns:
        What the file holds. Tensors of zip files are mapped from the file: read them before the file is overwritten.

    Raises:
        UserError: no such file, a folder, not a checkpoint (text, Git LFS pointer ...), cut off, or it holds classes
            that are not on the list.
    """
    path = os.fspath(path)
    checkpoint = _read(path)
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path!r} holds a {type(checkpoint).__name__}, expected a dict of tensors")
    return checkpoint


def read_pickled_module(path: str | os.PathLike, classes: Iterable[str]) -> dict[str, Any]:
    """Read the state dict out of a pickled module, without its classes and without running its code.

    Args:
        path: a file of `torch.save(module)`, or of a dict: that is returned as `read_checkpoint` does.
        classes: full names of the classes in the file, e.g. "torch.nn.modules.container.Sequential"; each is read as
            nothing but its attributes.

    Raises:
        UserError: as `read_checkpoint`; the file holds other classes.
    """
    path = os.fspath(path)
    known = torch.serialization.get_safe_globals()
    stand_ins: list[Any] = [_stand_in(name, _Attributes) for name in classes]
    stand_ins += [_stand_in("__builtin__.set", set)]  # torch 2.4 and 2.5 look the name of Python 2 up as it stands
    torch.serialization.add_safe_globals(stand_ins)
    try:
        content = _read(path)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)
    if isinstance(content, dict):
        return content
    if not isinstance(content, _Attributes):
        raise UserError(f"checkpoint {path!r} holds a {type(content).__name__}, expected a module or a dict of tensors")
    return dict(content.tensors())


class _Attributes:
    """Stand in for an `nn.Module` in a pickle: unpickling sets attributes, and nothing else."""

    _parameters: dict[str, Tensor | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, _Attributes | None]

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers by name, as a state dict has them."""
        for name, tensor in {**self._parameters, **self._buffers}.items():
            if tensor is not None and name not in getattr(self, "_non_persistent_buffers_set", ()):
                yield prefix + name, tensor.detach()
        for name, module in self._modules.items():
            if module is not None:
                yield from module.tensors(f"{prefix}{name}.")


def _stand_in(name: str, base: type) -> type:
    module, _, name = name.rpartition(".")
    return type(name, (base,), {"__module__": module})


def _read(path: str) -> Any:
    kind = _file_kind(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    allow_mmengine_checkpoints()
    try:
        if kind == "pickle":
            return read_arrays(path)
        if kind == "zip" and is_torchscript(path):
            return read_torchscript(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "zip")
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except Exception as error:  # a damaged pickle fails wherever its first wrong byte leads
        raise _damaged(path, _first_line(error)) from error


def _file_kind(path: str) -> str:
    """Tell "zip", "legacy" and "safetensors" files by their first bytes; everything else is a UserError."""
    if re.match(r"\w+://", path):
        raise UserError(f"checkpoint {path!r} is an address: download it first and give the file")
    if osp.isdir(path):
        inside = sorted(name for name in os.listdir(path) if name.endswith(_SUFFIXES))
        hint = f"give one of its files: {', '.join(map(repr, inside[-3:]))}" if inside else "it holds no checkpoint"
        raise UserError(f"checkpoint {path!r} is a folder; {hint}")
    if not osp.isfile(path):
        raise UserError(f"checkpoint {path!r}: no such file{near_files(path)}")
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except PermissionError as error:
        raise UserError(f"checkpoint {path!r}: no permission to read it") from error
    if not head:
        raise UserError(f"checkpoint {path!r} is an empty file")
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):  # its table of contents stands at the end
            raise _damaged(path, "the end of the file is missing")
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head[:1] == b"\x80":
        return "legacy" if head[2:].startswith(_LEGACY) else "pickle"
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"checkpoint {path!r} is a Git LFS pointer, not the file itself; run `git lfs pull`")
    if all(byte in string.printable.encode() for byte in head):
        begin = " ".join(head.decode("ascii").split())[:40]
        raise UserError(f"checkpoint {path!r} is a text file ({begin!r} ...), expected a .pth or .safetensors file")
    raise UserError(f"checkpoint {path!r} is neither a torch nor a safetensors file")


def _read_safetensors(path: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, _first_line(error)) from error
    if "mimtransfer" not in metadata:
        return state
    try:  # safetensors keeps strings only: our provenance travels as JSON
        return {"state_dict": state, "meta": {"mimtransfer": json.loads(metadata["mimtransfer"])}}
    except ValueError as error:
        raise _damaged(path, f"its metadata: {_first_line(error)}") from error


def _refused(path: str, reason: str) -> UserError:
    """Say which class or function torch refused, or what else kept it from reading the pickle."""
    found = re.search(r"GLOBAL (getattr\(.*?\)|\S+)", reason) or re.search(r"but got <class '([\w.]+)'>", reason)
    if found:
        return UserError(
            f"checkpoint {path!r} holds {found.group(1)}, which is not loaded because unpickling it could run code; "
            "save the plain state_dict (tensors, numbers, strings) and load that"
        )
    operand = re.search(r"Unsupported operand (\d+)", reason)
    if operand:
        return UserError(
            f"checkpoint {path!r} is damaged or a pickle not written by torch.save (instruction {operand.group(1)}); "
            "write the state_dict with torch.save"
        )
    detail = re.search(r"WeightsUnpickler error: *([^\n]+)", reason)
    return _damaged(path, detail.group(1)[:120] if detail else "its pickle ends or breaks in the middle")


def _damaged(path: str, reason: str) -> UserError:
    return UserError(f"checkpoint {path!r} is cut off or damaged ({reason}); copy or download it again")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
