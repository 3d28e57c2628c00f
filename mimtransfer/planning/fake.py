"""Run training code on tensors without values, and note the storages that are alive.

Images, maps and weights are torch's fake tensors: shapes and dtypes, no memory. What is made of numbers alone stays
real: layouts, boxes, anchors, labels. So code that looks at values (mmdet's assigners and samplers, `nonzero`,
`.item()`) runs as it does in training. Where it asks for a value of a fake tensor, one is invented, the place noted.

Why not `torch.distributed._tools.mem_tracker.MemTracker`: it is private, differs between versions of torch, hooks into
modules for a breakdown that we do not need, and takes all tensors to be fake.
"""
from __future__ import annotations

import os
import traceback
import weakref
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

SMALL = 2**14  # elements up to which a tensor that a constructor makes is real
_NOT_OF_THE_MODEL = (os.path.dirname(torch.__file__), os.path.dirname(os.path.abspath(__file__)))
_BOOLEAN_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")


class Fake(TorchDispatchMode):
    """Enter `FakeTensorMode`, and count bytes; see the module.

    Attributes:
        phase: what new storages are counted as: 'inputs', 'activations', ...
        now, peaks, snapshots: bytes that are alive by kind; the highest sum in each phase, and what it was made of.
        invented: places that read values of fake tensors, with how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.building, self.counting = False, False
        self.phase = "weights"
        self.now: Counter[str] = Counter()
        self.peaks: dict[str, int] = {}
        self.snapshots: dict[str, dict[str, int]] = {}
        self.invented: Counter[str] = Counter()
        self._kinds: dict[int, str] = {}
        self._alive: dict[int, Any] = {}

    def __enter__(self) -> Fake:
        self.mode.__enter__()
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        self.mode.__exit__(*args)

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a fake tensor."""
        with _disable_current_modes(), self.mode:
            made = torch.empty(shape, dtype=dtype)
        if self.counting:
            self.count(made)
        return made

    # What runs

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator on fake tensors, or for real where none of its arguments is fake."""
        kwargs = kwargs or {}
        tensors = list(_tensors((args, kwargs)))
        fake = any(isinstance(tensor, FakeTensor) for tensor in tensors)
        if not fake and not tensors and self.building:
            fake = _elements(func, args, kwargs) > SMALL
        if not fake:
            with unset_fake_temporarily():
                out = func(*args, **kwargs)
        else:
            out = self._run_fake(func, args, kwargs)
        if self.counting:
            self.count(out)
        return out

    def _run_fake(self, func: Any, args: Any, kwargs: dict) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in _BOOLEAN_INDEX:
            with unset_fake_temporarily():
                args = (args[0], _integers(args[1], self), *args[2:])
        elif name in ("_local_scalar_dense", "is_nonzero", "equal"):
            self._note()
            dtype = args[0].dtype
            if name != "_local_scalar_dense" or dtype == torch.bool:
                return True
            return 1.0 if dtype.is_floating_point else 1
        elif name in ("nonzero", "masked_select"):
            self._note()
            of = args[name == "masked_select"]
            with unset_fake_temporarily():
                places = torch.ones(of.shape, dtype=torch.bool).nonzero()
            return places if name == "nonzero" else args[0].broadcast_to(of.shape)[tuple(places.unbind(1))]
        return func(*args, **kwargs)

    def _note(self) -> None:
        frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(_NOT_OF_THE_MODEL)]
        place = frames[-1]
        self.invented[f"{place.filename.rpartition('site-packages/')[2]}:{place.lineno}"] += 1

    # What is alive

    def count(self, out: Any) -> None:
        """Count the storages of these tensors that are not counted yet; each until it is freed."""
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._alive or not storage.nbytes():
                continue
            size = storage.nbytes()
            self._kinds[key] = self.phase
            self.now[self.phase] += size
            self._alive[key] = weakref.ref(storage, partial(self._forget, key, size))
        total = sum(self.now.values())
        if total > self.peaks.get(self.phase, 0):
            self.peaks[self.phase] = total
            self.snapshots[self.phase] = dict(self.now)

    def relabel(self, tensors: Any, kind: str) -> None:
        """Count the storages of these tensors as another kind from now on."""
        for tensor in _tensors(tensors):
            storage = tensor.untyped_storage()
            before = self._kinds.get(storage._cdata)
            if before is not None:
                self.now[before] -= storage.nbytes()
                self.now[kind] += storage.nbytes()
                self._kinds[storage._cdata] = kind

    def _forget(self, key: int, size: int, _: object) -> None:
        del self._alive[key]
        self.now[self._kinds.pop(key)] -= size

    def convert_parameters(self, model: nn.Module) -> None:
        """Make the parameters that are real fake, so that gradients are."""
        memo: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and not isinstance(parameter, FakeTensor):
                    if id(parameter) not in memo:
                        value = self.empty(*parameter.shape, dtype=parameter.dtype)
                        memo[id(parameter)] = nn.Parameter(value, parameter.requires_grad)
                    module._parameters[name] = memo[id(parameter)]


def _tensors(node: Any) -> Iterator[Tensor]:
    """Yield the tensors in what an operator takes or returns; torch's own walk of trees takes half of a step."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, tuple | list):
        for child in node:
            yield from _tensors(child)
    elif isinstance(node, dict):
        for child in node.values():
            yield from _tensors(child)


def _elements(func: Any, args: Any, kwargs: dict) -> int:
    """Return the size of what a factory function makes."""
    name = func._schema.name.partition("::")[2]
    if name in ("arange", "linspace", "scalar_tensor", "range", "logspace", "eye", "tril_indices", "triu_indices"):
        return 0  # grids and tables: they are computed with
    shape = args[0] if args and isinstance(args[0], list | tuple | torch.Size) else kwargs.get("size", ())
    total = 1
    for side in shape:
        total *= side
    return total


def _integers(indices: Any, fake: Fake) -> list:
    """Replace boolean indices by the numbers of their true elements; of a fake one, all are taken for true."""
    found: list[Any] = []
    for index in indices:
        if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
            if isinstance(index, FakeTensor):
                fake._note()
                index = torch.ones(index.shape, dtype=torch.bool)
            found += index.nonzero().unbind(1)
        else:
            found.append(index)
    return found
