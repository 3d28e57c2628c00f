"""What a user did wrong, told from the error that mmengine, torch or Python raised for it.

Each explanation is one function of (error, message, frames of its traceback) that returns a line or None. mmengine says
what is wrong but seldom where: the frames know the registry, the class and the config file.
"""
from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import os.path as osp
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from mimtransfer.cli.failed_write import failed_write
from mimtransfer.datasets.configured import dicts_in
from mimtransfer.errors import UserError, near_files, near_matches


def explain(error: Exception) -> str | None:
    """Say in one line what the user did wrong, or None when the error looks like a bug."""
    message, builders = _original_message(error)
    where = f" (while building {' > '.join(builders)})" if builders else ""
    if isinstance(error, UserError):
        return message + where
    frames = list(_frames(error))
    for explanation in (_unknown_name, _wrong_argument, _config, _missing_file, failed_write, _one_value, _unbuildable):
        line = explanation(error, message, frames)
        if line is not None:
            return " ".join(line.splitlines()) + where
    return None


def _frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _original_message(error: Exception) -> tuple[str, list[str]]:
    """Undo what DataLoader workers and mmengine's builders wrap around a message.

    Returns:
        The message as it was raised, in one line, and the classes that were under construction, outermost first.
    """
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if "Original Traceback" in message:  # the text of the worker's traceback: its last "Class: message" is the error
        found = re.findall(rf"^(?:[\w.]+\.)?{type(error).__name__}: (.*)$", message, flags=re.MULTILINE)
        message = found[-1] if found else message
    builders = []
    while wrapped := re.match(r"class `(\w+)` in \S+?: (.*)", message, flags=re.DOTALL):
        builders.append(wrapped.group(1))
        message = wrapped.group(2).strip()
        if len(message) > 1 and message[0] == message[-1] and message[0] in "'\"":  # str() of a KeyError is quoted
            message = message[1:-1]
    return " ".join(message.splitlines()), builders


# Names in registries


def _unknown_name(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain mmengine's "X is not in the scope::name registry" (KeyError) and "Failed to get X" (RuntimeError)."""
    if found := re.match(r"(\S+) is not in the ([\w-]+)::(.+?) registry", message):
        name, scope, kind = found.groups()
        registry = _find_registry(scope, kind, frames)
    elif found := re.fullmatch(r"Failed to get (\S+)", message):
        name = found.group(1)
        registry = next(_registries_in(frames), None)
        if registry is None:
            return None
        scope, kind = registry.scope, registry.name
    else:
        return None
    line = f"{name!r} is not in the {scope}::{kind} registry"
    known = _known_names(registry, name) if registry is not None else []
    # Compared without scopes; of two equal names the one that needs no scope is suggested.
    by_bare_name: dict[str, str] = {}
    for full in sorted(known, key=lambda full: ("." in full, full)):
        by_bare_name.setdefault(full.rpartition(".")[2], full)
    hint = near_matches(name.rpartition(".")[2], by_bare_name)
    if hint:
        hint = re.sub(r"'(\w+)'", lambda match: repr(by_bare_name[match.group(1)]), hint)
    elif 0 < len(known) <= 12:
        hint = f"known: {', '.join(sorted(known))}"
    return f"{line}; {hint or 'import the module that registers it with custom_imports'}"


def _registries_in(frames: list[FrameType]) -> Iterator[Any]:
    """Yield the registries that the functions of a traceback work on, innermost first."""
    from mmengine.registry import Registry

    for frame in reversed(frames):
        for name in ("registry", "self"):
            if isinstance(frame.f_locals.get(name), Registry):
                yield frame.f_locals[name]


def _find_registry(scope: str, kind: str, frames: list[FrameType]) -> Any:
    """Find a registry by scope and name in a traceback, or else (it is that of a worker) among the loaded modules."""
    from mmengine.registry import Registry

    modules = [module for name, module in list(sys.modules.items()) if "registry" in name]
    loaded = [value for module in modules for value in list(vars(module).values()) if isinstance(value, Registry)]
    found = (value for value in (*_registries_in(frames), *loaded) if (value.scope, value.name) == (scope, kind))
    return next(found, None)


def _lineage(registry: Any) -> list[Any]:
    found = []
    while registry is not None:
        found.append(registry)
        registry = registry.parent
    return found


def _known_names(registry: Any, wanted: str) -> list[str]:
    """List what a config may write: names of this registry and its parents bare, of other libraries with their scope.

    When `wanted` names a library, only that library's names are listed.
    """
    scope = wanted.partition(".")[0] if "." in wanted else None
    lineage = _lineage(registry)
    nodes = [lineage[-1]]
    for node in nodes:
        nodes += node.children.values()
    if any(node.scope == scope for node in nodes):
        nodes = [node for node in nodes if node.scope == scope]
    known = []
    for node in nodes:
        # Siblings are not imported for this: 10 s for mmdet would be a high price for a typing error.
        if node.scope == scope or node in lineage or registry in _lineage(node):
            with contextlib.suppress(Exception):  # a suggestion must not hide the error it belongs to
                node.import_from_location()
        bare = node in lineage and node.scope != scope
        known += [name if bare else f"{node.scope}.{name}" for name in node.module_dict]
    return known


def _wrong_argument(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain a config with arguments that the class, or a parent that it hands them to, does not take."""
    unexpected = re.search(r"got an unexpected keyword argument '(\w+)'", message)
    if not isinstance(error, TypeError) or not (unexpected or re.search(r"missing \d+ required", message)):
        return None
    # Some versions of mmengine raise the error anew, with the original one as its context.
    frames = list(_frames(error.__context__ or error))
    building = [frame for frame in frames if frame.f_code.co_name == "build_from_cfg" and "obj_cls" in frame.f_locals]
    if not building:
        return None
    cls = building[-1].f_locals["obj_cls"]
    name = getattr(cls, "__name__", str(cls))
    if unexpected and unexpected.group(1) in building[-1].f_locals["args"]:
        # All constructors up to object's, for arguments handed on as **kwargs.
        classes = cls.__mro__[:-1] if inspect.isclass(cls) else ()
        owners = [vars(o)["__init__"] for o in classes if "__init__" in vars(o)] if classes else [cls]
        known = dict.fromkeys(parameter for owner in owners for parameter in inspect.signature(owner).parameters)
        hint = near_matches(unexpected.group(1), known)
        return f"config of {name}: it takes no argument {unexpected.group(1)!r}" + (f"; {hint}" if hint else "")
    if not unexpected and frames[-1] is building[-1]:
        return f"config of {name}: {message.partition('() ')[2] or message}"
    if unexpected and any(unexpected.group(1) in node for node in dicts_in(building[-1].f_locals["args"])):
        inner = message.partition(".__init__")[0]  # mmdet hands dicts without a type on to classes of its own
        return f"config of {name}: {inner} in it takes no argument {unexpected.group(1)!r}"
    return None  # the call is in the code, not in the config


def _one_value(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain batch normalisation of a single value for each channel, as pooling gives for a batch of one image."""
    if not isinstance(error, ValueError) or not message.startswith("Expected more than 1 value per channel"):
        return None
    return (f"batch normalisation got a single value for each channel ({message.rpartition('input size ')[2]}): set "
            "train_dataloader.batch_size to 2 or more for each process, or a norm_cfg of type GN")


def _unbuildable(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain what a constructor made of its arguments, when it did not expect them: the values are the config's."""
    building = [frame for frame in frames if frame.f_code.co_name == "build_from_cfg" and "obj_cls" in frame.f_locals]
    inside = [frame for frame in frames if frame.f_code.co_name in ("__init__", "__new__")]
    if not building or not inside or isinstance(error, OSError | MemoryError):
        return None
    # No value of a config makes code name what does not exist, or call a function with a wrong keyword.
    keyword = isinstance(error, TypeError) and "unexpected keyword argument" in message
    if keyword or isinstance(error, NameError | ImportError):
        return None
    arguments = building[-1].f_locals.get("args") or {}
    plain = (bool, int, float, str, list, tuple)
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if isinstance(value, plain))
    name = getattr(building[-1].f_locals["obj_cls"], "__name__", "?")
    return (f"config of {name}: it cannot be built ({type(error).__name__}: {message[:200]}); look at {shown[:300]}, "
            "MIMTRANSFER_TRACEBACK=1 shows where")


# Config files and other files


def _config(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain what mmengine raises while it reads, merges or overrides a config."""
    parsing = [frame for frame in frames if _in_mmengine(frame, "config")]
    if not parsing:
        return None
    # The config that was asked for, its base, the base of that ...
    files = [frame.f_locals["filename"] for frame in parsing if isinstance(frame.f_locals.get("filename"), str)]
    files = list(dict.fromkeys(_short(file) for file in files))
    if isinstance(error, SyntaxError):
        told = re.match(r"There are syntax errors in config file (.*?): (.*?)(?: \(.*line (\d+)\))?$", message)
        file, text, line = told.groups() if told else ((files or ["?"])[-1], error.msg, error.lineno)
        return f"config {_short(file)!r}, line {line}: {text}"
    for reader, frame in itertools.pairwise(frames):
        if reader.f_code.co_name == "_file2dict" and frame.f_code.co_filename == reader.f_locals.get("filename"):
            place = f"config {_short(frame.f_code.co_filename)!r}, line {_line_of(error, frame)}"
            return f"{place}: {type(error).__name__}: {message}"
    if not (_in_mmengine(frames[-1], "config") or _in_mmengine(frames[-1], "utils")):
        return None  # raised by what the config imports
    if isinstance(error, FileNotFoundError) and files:
        named = re.search(r'file "(.*?)" does not exist', message)
        missing = _short(named.group(1)) if named else files[-1]
        if osp.isdir(missing):
            return f"config {missing!r} is a folder; give a file in it"
        if files[0] == missing:
            return f"config {missing!r}: no such file{near_files(missing)}"
        owner = [file for file in files if file != missing][-1]
        return f"config {owner!r}: its base {missing!r} does not exist{near_files(missing)}"
    cause = f" ({error.__cause__})" if isinstance(error, ImportError) and error.__cause__ is not None else ""
    text = message.split(", the current sys.path")[0][:300] + cause  # the message may hold a whole config
    if isinstance(error, KeyError) and " " not in text:
        text = f"the key {text!r} is in none of its bases"
    return f"config {files[-1]!r}: {text}" if files else f"config: {text}"


def _line_of(error: BaseException, frame: FrameType) -> int:
    traceback: Any = error.__traceback__  # passes through the frame
    while traceback.tb_frame is not frame:
        traceback = traceback.tb_next
    return traceback.tb_lineno


def _in_mmengine(frame: FrameType, part: str) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(f"mmengine.{part}")


def _short(path: str) -> str:
    """Write a path below the working directory relative to it."""
    absolute, here = osp.abspath(path), os.getcwd()
    return osp.relpath(absolute, here) if absolute.startswith(here + os.sep) else osp.normpath(path)


def _missing_file(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain a file or folder that is not there, or is the wrong one of the two, or may not be read."""
    if not isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)):
        return None
    text = re.sub(r"^\[Errno -?\d+\] ", "", message)
    quoted = re.search(r"""["']([^"']+)["']""", text)
    path = error.filename if isinstance(error.filename, str) else quoted.group(1) if quoted else None
    return text + (near_files(path) if path and not osp.exists(path) else "")
