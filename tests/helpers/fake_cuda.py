"""A CUDA device without a GPU: tensors with a device, a shape and a type, but without numbers, and a watch over them.

torch's `FakeTensorMode` refuses to mix devices. The watch finds what the host would have to wait for: to read a number
or a shape that depends on numbers, and to copy without `non_blocking`. Kernels and numbers are not proven.
"""
from __future__ import annotations

import contextlib
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import mmengine.device.utils
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

ROOT = Path(__file__).resolve().parents[2]
# Whose result has a shape, or is a number, that the host must know.
_READS = {"nonzero", "nonzero_numpy", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount",
          "equal", "is_nonzero", "nms"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class HostWaits(AssertionError):
    """The host waits for the device."""


class Watch(TorchDispatchMode):
    """Count what the host waits for, by (what, file:line of the innermost frame outside torch).

    Args:
        strict: raise `HostWaits`; otherwise numbers are made up and the code goes on.
        rows: made-up number of rows where it depends on numbers.
        device: that is watched; "cpu" watches a run on real tensors, where copies are none.
    """

    def __init__(self, strict: bool = True, rows: int = 8, device: str = "cuda"):
        super().__init__()
        self.strict, self.rows, self.device = strict, rows, device
        self.waits: Counter[tuple[str, str]] = Counter()
        self._resting = False
        self._known = WeakTensorKeyDictionary()  # fake tensor -> its numbers, where they came from the host

    @contextlib.contextmanager
    def rest(self):
        """Look away, e.g. while a model is moved to the device."""
        self._resting = True
        try:
            yield
        finally:
            self._resting = False

    def note(self, what: str) -> None:
        self.waits[what, place()] += 1
        if self.strict:
            raise HostWaits(f"{what} at {place()}")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if self.device != "cuda":
            if name in _READS or name == "_local_scalar_dense" or _is_masked_index(name, args):
                self.note(name)
            return func(*args, **kwargs)
        target = kwargs.get("device")
        to_cuda = target is not None and torch.device(target).type == "cuda"
        if not to_cuda and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():  # what is on the CPU is computed
                return func(*args, **kwargs)
        if not self._resting and (to_cuda or any(tensor.device.type == "cuda" for tensor in tensors)):
            what = _wait(name, args, kwargs, tensors, target)
            if what is not None:
                self.note(what)
        if self.strict:
            return func(*args, **kwargs)
        made_up = self._made_up(name, args, kwargs, tensors)
        result = func(*args, **kwargs) if made_up is None else made_up
        self._follow(func, args, kwargs, tensors, result)
        return result

    def _follow(self, func: Any, args: tuple, kwargs: dict, tensors: list, result: Any) -> None:
        """Keep the numbers of small tensors that come of the host's, such as sizes of maps: code cuts by them."""
        if not isinstance(result, FakeTensor) or not tensors or any(
            tensor.numel() > 64 or (isinstance(tensor, FakeTensor) and tensor not in self._known) for tensor in tensors
        ):
            return
        given = tree_map(lambda leaf: self._known.get(leaf, leaf) if isinstance(leaf, FakeTensor) else leaf,
                         (args, {key: value for key, value in kwargs.items() if key != "device"}))
        with unset_fake_temporarily(), contextlib.suppress(RuntimeError, TypeError):
            self._known[result] = func(*given[0], **given[1])

    def _made_up(self, name: str, args: tuple, kwargs: dict, tensors: list) -> Any:
        """Return what comes of an operator whose result depends on numbers; None for others."""
        if name == "_local_scalar_dense":
            if tensors[0] in self._known:
                with unset_fake_temporarily():
                    return self._known[tensors[0]].item()
            kind = tensors[0].dtype
            return True if kind == torch.bool else 1.0 if kind.is_floating_point else 1
        if name in ("equal", "is_nonzero", "allclose"):
            return True
        if name == "nonzero":
            return torch.zeros(self.rows, args[0].dim(), dtype=torch.int64, device=args[0].device)
        if name == "masked_select":
            return args[0].new_zeros(self.rows)
        if name == "nms":
            return torch.zeros(min(self.rows, len(args[0])), dtype=torch.int64, device=args[0].device)
        if name in ("_unique2", "unique_dim"):
            distinct = args[0][:1].clone() if name == "unique_dim" else args[0].flatten()[:1].clone()
            counts = torch.zeros(1, dtype=torch.int64, device=args[0].device)
            return distinct, torch.zeros(args[0].shape, dtype=torch.int64, device=args[0].device), counts
        if name == "bincount":
            return torch.zeros(max(1, kwargs.get("minlength", 0)), dtype=torch.int64, device=args[0].device)
        if _is_masked_index(name, args):
            if name != "index":
                return args[0]
            at: list = []
            for index in args[1]:
                masked = index is not None and index.dtype in (torch.bool, torch.uint8)
                zeros = torch.zeros(self.rows, dtype=torch.int64, device=args[0].device)
                at += [zeros] * index.dim() if masked else [slice(None) if index is None else index]
            return args[0][tuple(at)]
        return None


def _is_masked_index(name: str, args: tuple) -> bool:
    kinds = _kinds_of_indices(name, args)
    return (torch.bool in kinds or torch.uint8 in kinds) and not _fills(name, args)


def _kinds_of_indices(name: str, args: tuple) -> list:
    return [index.dtype for index in args[1] if index is not None] if name in _INDEXING else []


def _fills(name: str, args: tuple) -> bool:
    """Tell whether a number is written under one mask, which torch does by `masked_fill_`."""
    if name == "index" or _kinds_of_indices(name, args) != [torch.bool]:
        return False
    return args[2].numel() == 1 and args[2].device.type == "cpu"


def _wait(name: str, args: tuple, kwargs: dict, tensors: list, target: Any) -> str | None:
    """Return what the host waits for in an operator on CUDA tensors, or in a copy to or from them."""
    if name == "_local_scalar_dense":
        return "item"
    if name in _READS:
        return name
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        return name
    if _is_masked_index(name, args):
        return f"{name} by a mask"
    if name in _INDEXING and not _fills(name, args):
        given = [index for index in args[1] if index is not None] + list(args[2:3])
        if any(isinstance(part, torch.Tensor) and part.device.type == "cpu" for part in given):
            return f"{name} with values of the host"
    if name in ("_to_copy", "copy_"):
        source = args[0] if name == "_to_copy" else args[1]
        to = torch.device(target or source.device).type if name == "_to_copy" else args[0].device.type
        waits = not kwargs.get("non_blocking", args[2] if name == "copy_" and len(args) > 2 else False)
        if source.device.type == "cuda" and to == "cpu":
            return "copy to the host"
        if source.device.type == "cpu" and to == "cuda" and waits:
            return "copy from the host"
    return None


def place() -> str:
    """Return file:line of the innermost frame that is neither torch's nor of this file; ours are relative to the
    repository, others to site-packages.
    """
    for frame in reversed(traceback.extract_stack()):
        if not ("/torch/" in frame.filename or frame.filename == __file__ or frame.filename.startswith("<")):
            name = frame.filename.rpartition("site-packages/")[2].removeprefix(f"{ROOT}/")
            return f"{name}:{frame.lineno}"
    return "?"


@contextlib.contextmanager
def fake_cuda(strict: bool = True, rows: int = 8):
    """Enter a world where tensors can be on "cuda"; yield the `Watch`. Real tensors of the CPU may come in.

    `Tensor.backward` runs there without torch's engine, which asks the driver for its streams.
    """
    watch = Watch(strict, rows)
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    patches = [
        mock.patch.object(mmengine.device.utils, "DEVICE", "cuda"),
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        mock.patch("torch.cuda.is_bf16_supported", lambda *args, **kwargs: True),
        mock.patch.object(torch.Tensor, "backward", backward),
    ]
    if not strict:
        patches.append(mock.patch.object(torch.Tensor, "numpy", _numpy(torch.Tensor.numpy)))
    try:
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(watch)
            yield watch
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


def _numpy(read):
    """Make up the numbers of fake tensors."""
    def numpy(tensor, **options):
        if not isinstance(tensor, FakeTensor):
            return read(tensor, **options)
        with unset_fake_temporarily():
            return read(torch.zeros(tensor.shape, dtype=tensor.dtype))

    return numpy


def backward(loss: torch.Tensor, **options: Any) -> None:
    """Give the leaves of a graph their gradients by calling its nodes one by one; hooks of tensors are left out."""
    root = loss.grad_fn
    edges, todo, seen = Counter(), [root], {root}
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None:
                edges[node] += 1
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
    given: dict[Any, dict[int, torch.Tensor]] = defaultdict(dict)
    given[root][0] = torch.ones_like(loss)
    ready = [root]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            for (after, number), grad in zip(node.next_functions, _call(node, given.pop(node, {}))):
                if after is None:
                    continue
                if grad is not None:
                    there = given[after].get(number)
                    given[after][number] = grad if there is None else there + grad
                edges[after] -= 1
                if not edges[after]:
                    ready.append(after)


def _call(node: Any, grads: dict[int, torch.Tensor]) -> tuple:
    if hasattr(node, "variable"):
        if grads:
            leaf, grad = node.variable, grads[0]
            assert grad.device == leaf.device, f"gradient on {grad.device} of a leaf on {leaf.device}"
            grad = grad.sum_to_size(leaf.shape).to(leaf.dtype)  # as the engine does
            leaf.grad = grad if leaf.grad is None else leaf.grad + grad
        return ()
    if not grads:
        return (None,) * len(node.next_functions)
    metadata = node._input_metadata
    inputs = []
    for number, meta in enumerate(metadata):
        grad = grads.get(number)
        if grad is not None:
            assert grad.device == meta.device, f"{node.name()}: gradient on {grad.device}, expected {meta.device}"
            grad = grad.sum_to_size(meta.shape).to(meta.dtype)
        inputs.append(grad)
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        inputs = [torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device) if grad is None else grad
                  for grad, meta in zip(inputs, metadata)]
        found = node.apply(*inputs)
    else:
        found = node(*inputs)
    return found if isinstance(found, tuple) else (found,)
