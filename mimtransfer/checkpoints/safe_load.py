"""Read checkpoint files without running code that they carry.

A `.pth` file is a pickle, and unpickling can call any function of the machine. `torch.load(weights_only=True)`, the
default since torch 2.6, builds tensors and plain containers only. It also refuses what mmengine itself writes (the
message hub keeps the loss history in `HistoryBuffer`s of numpy arrays; mmengine issue 1655) and the
`argparse.Namespace` in training checkpoints of MAE and its kin. Exactly those are admitted here, numpy's arrays and
numbers by stand-ins: its own classes build arrays of any addresses. `limits.py` bounds what comes out.
"""
from __future__ import annotations

import contextlib
import mmap
import os
import os.path as osp
import pickle
import re
import string
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mimtransfer.checkpoints.limits import NotAccepted, scan_pickle, settle
from mimtransfer.checkpoints.safe_pickle import (
    Attributes,
    array_of,
    is_torchscript,
    named,
    numpy_stand_ins,
    read_arrays,
    read_torchscript,
)
from mimtransfer.errors import UserError, check_checkpoint_path, what_is

_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")
# A legacy file begins with this pickled number.
_LEGACY = b"\x8a\n" + torch.serialization.MAGIC_NUMBER.to_bytes(10, "little") + b"."
_MOST_UNPACKED = 64 << 20  # bytes of an entry of an archive that is compressed; torch compresses no tensors


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


def allow_mmengine_checkpoints() -> None:
    """Let mmengine, and so `Runner.resume` and `load_checkpoint`, read files by `read_checkpoint`.

    Call it before a Runner loads anything; calling it again changes nothing. Where `torch.load` unpickles everything by
    default (torch < 2.6), it also makes safe reading the default of this process, for downloads, unless
    TORCH_FORCE_WEIGHTS_ONLY_LOAD is set already.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


def load_from_local(path: str, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint onto the CPU in mmengine's place, for a Runner; that copies the tensors to its device.

    Raises:
        UserError: as `read_checkpoint`; `meta` or `state_dict` is of another type.
    """
    checkpoint = read_checkpoint(path, mapped=False)  # the optimizer goes on with these tensors
    if "state_dict" in checkpoint:
        state_dict_of(checkpoint, path)
    meta = checkpoint.get("meta")
    if isinstance(meta, dict):
        meta.pop("config", None)  # mmengine would run it as Python when it resumes
    counts = [(meta or {}).get(name) for name in ("epoch", "iter")]
    if "message_hub" in checkpoint and not (isinstance(checkpoint["message_hub"], dict)
                                            and all(type(count) is int and count >= 0 for count in counts)):
        raise UserError(f"checkpoint {path!r} does not say by whole numbers in meta which epoch and iter it is of; "
                        "resume from another one")
    return checkpoint


def state_dict_of(checkpoint: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Tensor]:
    """Return the tensors of a model, without the prefix of DistributedDataParallel.

    Args:
        checkpoint: what `read_checkpoint` returned, a state dict or one among other things.
        path: for the message.

    Raises:
        UserError: it is no dict of tensors by name.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping):
        raise UserError(f"checkpoint {os.fspath(path)!r}: its state_dict is a {type(state).__name__}, expected tensors "
                        "by name; save model.state_dict()")
    if state is checkpoint:
        state = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"checkpoint {os.fspath(path)!r}: its state_dict holds {type(value).__name__} under "
                            f"{str(name)[:80]!r} ({type(name).__name__}), expected tensors by name; save "
                            "model.state_dict()")
    return {name.removeprefix("module."): value for name, value in state.items()}


def read_checkpoint(path: str | os.PathLike, mapped: bool = True) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU.

    Args:
        path: a file of `torch.save` (zip or legacy format), of `torch.jit.save`, of safetensors, or a pickle of numpy
            arrays (detectron2's model zoo).
        mapped: leave the tensors of a zip file in it until they are read, which must be before it is overwritten.

    Returns:
        What the file holds.

    Raises:
        UserError: no such file, a folder or device, not a checkpoint (text, Git LFS pointer ...), cut off, classes
            that are not on the list, tensors without numbers, more or deeper values than any training writes.
    """
    path = os.fspath(path)
    checkpoint = _read(path, mapped)
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path!r} holds a {type(checkpoint).__name__}, expected a dict of tensors")
    if not isinstance(checkpoint.get("meta", {}), (dict, type(None), Tensor)):  # a tensor may have any name
        raise UserError(f"checkpoint {path!r}: its meta is a {type(checkpoint['meta']).__name__}, expected a dict; "
                        "save it again, or remove that entry")
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
    stand_ins = [named(Attributes, name) for name in classes]
    stand_ins += [named(set, "__builtin__.set")]  # torch 2.4 and 2.5 look the name of Python 2 up as it stands
    content = _read(path, True, stand_ins)
    if isinstance(content, dict):
        return content
    if not isinstance(content, Attributes):
        raise UserError(f"checkpoint {path!r} holds a {type(content).__name__}, expected a module or a dict of tensors")
    return dict(content.tensors())


def _read(path: str, mapped: bool, stand_ins: Iterable[Any] = ()) -> Any:
    kind = _file_kind(path)
    try:
        if kind == "safetensors":
            return _read_safetensors(path)
        if kind == "pickle":
            return read_arrays(path)
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                _check_entries(archive)
                if is_torchscript(archive):
                    return read_torchscript(archive, osp.getsize(path))
                for entry in archive.infolist():  # two may have the name, and readers differ in which they take
                    if entry.filename.lower().endswith("data.pkl"):
                        scan_pickle(archive.read(entry))
        else:
            _scan_legacy(path)
        with _allowed(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and kind == "zip")
        return settle(content, osp.getsize(path), array_of)
    except UserError:
        raise
    except NotAccepted as error:
        raise UserError(f"checkpoint {path!r} is not read: {error}; save the plain state_dict, dense tensors in main "
                        "memory, and load that") from error
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except MemoryError as error:
        raise UserError(f"checkpoint {path!r} asks for more memory than there is; it is damaged, or this machine too "
                        "small for it") from error
    except Exception as error:  # a damaged pickle fails wherever its first wrong byte leads
        raise _damaged(path, _first_line(error)) from error


@contextlib.contextmanager
def _allowed(stand_ins: Iterable[Any]) -> Iterator[None]:
    """Let torch's reader know what mmengine and the authors of MAE write, and nothing else that was allowed before."""
    import argparse

    from mmengine.logging import HistoryBuffer

    # Protocol 2 writes the name of Python 2; torch 2.4 and 2.5 look it up as it stands.
    methods = [named(_statistic, f"{builtins}.getattr") for builtins in ("builtins", "__builtin__")]
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([HistoryBuffer, argparse.Namespace, *numpy_stand_ins(), *methods, *stand_ins])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def _check_entries(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that would unpack to many times its size."""
    for entry in archive.infolist():
        if entry.file_size > max(entry.compress_size, _MOST_UNPACKED):
            raise NotAccepted(f"its entry {entry.filename[:80]!r} unpacks from {entry.compress_size:,} to "
                              f"{entry.file_size:,} bytes")


def _scan_legacy(path: str) -> None:
    """Scan the pickles at the front: magic number, protocol, machine, content, and the keys of the storages."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = 0
        for _ in range(5):
            end = scan_pickle(data, end)


def _file_kind(path: str) -> str:
    """Tell "zip", "legacy" and "safetensors" files by their first bytes; everything else is a UserError."""
    check_checkpoint_path(path)
    if osp.isdir(path):
        inside = sorted(name for name in os.listdir(path) if name.endswith(_SUFFIXES))
        hint = f"give one of its files: {', '.join(map(repr, inside[-3:]))}" if inside else "it holds no checkpoint"
        raise UserError(f"checkpoint {path!r} is a folder; {hint}")
    if not osp.isfile(path):  # reading could wait for ever
        raise UserError(f"checkpoint {path!r} is a {what_is(path)}, expected a file")
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

    from mimtransfer.stored import parse_json

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, _first_line(error)) from error
    if "mimtransfer" not in metadata:
        return settle(state, osp.getsize(path), array_of)
    try:  # safetensors keeps strings only: our provenance travels as JSON
        about = parse_json(metadata["mimtransfer"])
    except ValueError as error:
        raise _damaged(path, f"its metadata: {_first_line(error)}") from error
    return settle({"state_dict": state, "meta": {"mimtransfer": about}}, osp.getsize(path), array_of)


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
