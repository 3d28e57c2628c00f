"""torch.compile for the part of a model that is one graph; the rest of the model, and every evaluation, is eager.

A compiled part is an attribute of the module that it is a method of. So parameters and buffers keep their names, and
checkpoints, EMA, layer-wise lr decay and `--resume` do not see whether a run is compiled.
"""
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mimtransfer.errors import UserError

MAX_SHAPES = 4  # a pretraining has one, two where maps begin; a pipeline of many sizes would compile for hours
INDUCTOR = "inductor"


class CompiledPart:
    """A method of a module, compiled as one graph for each shape of its arguments that training brings.

    It runs eagerly while the model is in evaluation mode, where sizes vary from image to image, and for the shapes that
    come after the first `MAX_SHAPES`.

    Args:
        model: the model as a whole; its training mode counts.
        owner: the module, `model` or a part of it.
        name: of the method.
        backend: of `torch.compile`: a name, or a function for tests.
    """

    def __init__(self, model: nn.Module, owner: nn.Module, name: str, backend: str | Callable = INDUCTOR) -> None:
        self.model, self.owner, self.name, self.backend = model, owner, name, backend
        self.eager: Callable[..., Any] = getattr(type(owner), name).__get__(owner)
        self._compiled: Callable[..., Any] | None = None
        self._shapes: set[tuple] = set()
        self._warned = False

    def __reduce__(self) -> tuple:
        """Let a copy of the model, as of EMA, have a part of its own, which compiles when it is trained."""
        return type(self), (self.model, self.owner, self.name, self.backend)

    def __str__(self) -> str:
        """Name the part and what compiles it, e.g. `MAE.loss: inductor`."""
        backend = self.backend if isinstance(self.backend, str) else type(self.backend).__name__
        return f"{type(self.owner).__name__}.{self.name}: {backend}"

    def __call__(self, *args: Any) -> Any:
        """Return what the method returns.

        Raises:
            UserError: the part is not one graph, or the backend cannot compile it.
        """
        if not self.model.training:
            return self.eager(*args)
        shapes = tuple(_shapes(args))
        if shapes in self._shapes:
            assert self._compiled is not None
            return self._compiled(*args)
        if len(self._shapes) < MAX_SHAPES:
            return self._compile(shapes, args)
        if not self._warned:
            self._warned = True
            print_log(f"--compile: {self} has been compiled for {MAX_SHAPES} shapes, and this step brings another; it "
                      "runs eagerly for all but those: crop and pad to one size to compile every step",
                      logger="current", level=logging.WARNING)
        return self.eager(*args)

    def _compile(self, shapes: tuple, args: tuple) -> Any:
        if self._compiled is None:
            self._compiled = torch.compile(self.eager, fullgraph=True, dynamic=False, backend=self.backend)
        try:
            result = self._compiled(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.eager(*args)  # a user's mistake raises its own line here
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"--compile: {self} cannot be compiled with torch {torch.__version__}: {reason[:300]}; "
                            "train without --compile") from error
        self._shapes.add(shapes)
        return result


def compile_part(model: nn.Module, owner: nn.Module, name: str, backend: str | Callable = INDUCTOR) -> None:
    """Put a `CompiledPart` in the place of a method; nothing is compiled before the first training step."""
    setattr(owner, name, CompiledPart(model, owner, name, backend))


def compile_features(model: nn.Module, backend: str | Callable = INDUCTOR) -> None:
    """Compile what makes the features of a model of transfer: backbone and neck of a detector or segmentor, backbone
    and pooling of a classifier. Heads of mmdet and mmseg have loops over images and boxes, which break a graph.

    Args:
        model: also one that is wrapped for several processes.
    """
    model = model.module if is_model_wrapper(model) else model  # type: ignore[assignment]
    compile_part(model, model, "extract_feat" if hasattr(model, "extract_feat") else "features", backend)
    print_log(f"--compile: {', '.join(compiled_parts(model))}; heads, losses and evaluation are eager. The first step "
              "compiles, for a minute or more", logger="current")


def compiled_parts(model: nn.Module) -> list[str]:
    """Return what is compiled in a model, e.g. `["MAE.loss: inductor"]`."""
    found = (value for module in model.modules() for value in vars(module).values() if isinstance(value, CompiledPart))
    return list(map(str, found))


def check_compiler(cfg: Config) -> None:
    """Refuse to compile what cannot be, and where what torch.compile calls is missing, before data are read.

    Raises:
        UserError: there is no C++ compiler (CPU), no C compiler or no Triton (GPU); the model is to be sharded.
    """
    if cfg.get("strategy"):
        raise UserError("--compile with --fsdp: a sharded backbone is no single graph; leave one of them out")
    cuda = is_cuda_available()
    if cuda and importlib.util.find_spec("triton") is None:
        raise UserError("--compile needs Triton on a GPU, and it is not installed: pip install triton, or leave "
                        "--compile out")
    clang = sys.platform == "darwin"
    variable, default = ("CC", "clang" if clang else "gcc") if cuda else ("CXX", "clang++" if clang else "g++")
    compiler = os.environ.get(variable) or default
    if shutil.which(compiler) is None and not (cuda and shutil.which("clang")):
        raise UserError(f"--compile needs a compiler, and there is no {compiler!r}: install one (apt install g++), or "
                        f"name yours in {variable}, or leave --compile out")


def _shapes(args: Any) -> Iterator[Any]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg.shape
        elif isinstance(arg, tuple | list):
            yield from _shapes(arg)
        else:
            yield type(arg)
