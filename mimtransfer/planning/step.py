"""One training step on fake tensors: the bytes that are alive in it, and its operations."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop

from mimtransfer.planning.as_on_cuda import AsOnCuda
from mimtransfer.planning.fake import Fake


class Task(NamedTuple):
    """What a kind of config trains, with a made-up batch."""

    build: Callable[[], nn.Module]
    data: Callable[[Fake, nn.Module, int], Any]  # of so many images, as the loader would hand it on
    size: tuple[int, int]  # of an image, height and width
    around: Callable[[nn.Module], contextlib.AbstractContextManager] = lambda model: contextlib.nullcontext()
    notes: tuple[str, ...] = ()


class Cost(NamedTuple):
    """What a step takes."""

    flops: int  # of forward and backward pass, multiplications and additions each
    memory: dict[str, int]  # bytes at the moment of the most, by kind
    moment: str  # when that is
    before_update: int  # the most bytes until the optimizer runs, which grow with the batch
    update: int  # the most while it runs, which do not

    @property
    def peak(self) -> int:
        """The most bytes."""
        return max(self.before_update, self.update)


class FakeStep:
    """Train on a made-up batch, of one size after another.

    Args:
        cfg: a whole config; its accumulation is not looked at.
        task: what it trains.
        amp: bfloat16 autocast.
        cuda: as on a GPU, or else as on a CPU.
    """

    def __init__(self, cfg: Config, task: Task, amp: bool, cuda: bool = True) -> None:
        self.task, self.amp, self.cuda = task, amp, cuda
        self.fake, self._flops = Fake(), 0.0
        with self._modes():
            self.fake.building = True
            self.model = task.build().train()
            self.fake.building = False
            self.fake.convert_parameters(self.model)
            self.trained = [p for p in self.model.parameters() if p.requires_grad]
            self._build_optimizer(cfg)
            for parameter in self.trained:
                parameter.register_post_accumulate_grad_hook(lambda p: self.fake.relabel(p.grad, "gradients"))

    @property
    def trained_bytes(self) -> int:
        """Bytes of the parameters that are trained."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.trained)

    def _build_optimizer(self, cfg: Config) -> None:
        fake, wrapper = self.fake, _plain_optimizer(cfg, self.cuda)
        self.clip = wrapper.get("clip_grad")
        self.optimizer: Any = build_optim_wrapper(self.model, wrapper).optimizer
        fake.counting = True
        others = getattr(self.model, "__dict__", {}).get("tokenizer")  # is held beside the modules
        for module in filter(None, (self.model, others)):
            fake.count([list(module.parameters()), list(module.buffers())])
        fake.phase = "update"
        for parameter in self.trained:
            parameter.grad = torch.empty_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()
        fake.relabel([list(state.values()) for state in self.optimizer.state.values()], "optimizer state")

    def run(self, images: int, accumulating: bool = False) -> Cost:
        """Return the cost of a step with a batch of `images`.

        Args:
            accumulating: the gradients of an earlier batch are kept meanwhile.
        """
        fake = self.fake
        with self._modes(), self.task.around(self.model), self._counted(images):
            fake.counting = True
            fake.phase = "gradients"
            for parameter in self.trained:
                parameter.grad = torch.empty_like(parameter) if accumulating else None
            fake.peaks.clear()
            fake.phase = "inputs"
            preprocess: Any = self.model.data_preprocessor
            data = preprocess(self.task.data(fake, self.model, images), True)
            fake.phase = "activations"
            with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
                loss = _loss(self.model, data)
            del data
            fake.phase = "backward"
            _backward(loss)
            del loss
            fake.phase = "update"
            self._update()
            fake.counting = False
        peaks = fake.peaks
        moment = max(peaks, key=lambda phase: peaks[phase])
        before = max(peak for phase, peak in peaks.items() if phase != "update")
        memory = _by_kind(fake.snapshots[moment])
        return Cost(round(self._flops * images), memory, _MOMENTS[moment], before, peaks["update"])

    @contextlib.contextmanager
    def _counted(self, images: int) -> Iterator[None]:
        """Count the operations of an image in the first step; they are the same for each."""
        if self._flops:
            yield
            return
        with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
            yield
        self._flops = counter.get_total_flops() / images

    def _update(self) -> None:
        if self.clip:
            kind = {key: value for key, value in self.clip.items() if key != "type"}
            clip: Any = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}
            clip[self.clip.get("type", "norm")](self.trained, **kind)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @contextlib.contextmanager
    def _modes(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.cuda:
                stack.enter_context(AsOnCuda())
            stack.enter_context(self.fake)
            yield


_MOMENTS = {"gradients": "forward", "inputs": "preprocessing", "activations": "forward", "backward": "backward",
            "update": "optimizer"}
FIXED = ("weights", "gradients", "optimizer state")  # whatever the batch
_KINDS = (*FIXED, "activations")
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_ATTENTION = {
    _ATTENTION: lambda q, k, v, *args, **kwargs: sdpa_flop(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        lambda grad, q, k, v, *args, **kwargs: sdpa_backward_flop(grad, q, k, v),
}


def _by_kind(snapshot: dict[str, int]) -> dict[str, int]:
    kinds = {kind: snapshot.get(kind, 0) for kind in _KINDS}
    return {**kinds, "other": sum(snapshot.values()) - sum(kinds.values())}


def _loss(model: Any, data: Any) -> Tensor:
    losses = model(**data, mode="loss") if isinstance(data, dict) else model(*data, mode="loss")
    found = []
    for name, value in losses.items():
        if "loss" in name:  # mmengine's rule
            found += [one.mean() for one in (value if isinstance(value, list | tuple) else [value])]
    return sum(found[1:], found[0])


def _backward(loss: Tensor) -> None:
    """Run the backward pass with `AsOnCuda` in force, so that checkpointed blocks are computed anew as before.

    Torch's functions for it leave a mode first (`handle_torch_function`), and with float32 norms in the one pass and
    bfloat16 in the other it refuses what it recomputed; so its engine is called as they call it.
    """
    torch.autograd.Variable._execution_engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _plain_optimizer(cfg: Config, cuda: bool) -> Any:
    """Return the config's optimizer without what is of a run: accumulation, autocast."""
    wrapper: Any = {key: value for key, value in cfg.optim_wrapper.items()
                    if key not in ("accumulative_counts", "loss_scale", "dtype", "type")}
    wrapper["type"] = "OptimWrapper"
    optimizer = wrapper["optimizer"] = dict(wrapper["optimizer"])
    if cuda and optimizer["type"] in ("AdamW", "Adam", "SGD") and not optimizer.get("fused"):
        optimizer.setdefault("foreach", True)  # torch's default for CUDA tensors; it holds more
    return wrapper
