"""Training steps of pretraining configs on made-up images, and parts of them."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader

import pretrain.methods  # noqa: F401  registers them
from mimtransfer.benchmarks.timing import Contender, count_flops
from mimtransfer.cli.launch import load_config
from mimtransfer.registry import MODELS
from mimtransfer.training.precision import set_amp, set_precision
from pretrain.aug_record import AugRecord
from pretrain.benchmarks.loading import endless_batches
from pretrain.hooks.map_bank import measure_maps
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured
from pretrain.methods.mfm import MFM
from pretrain.methods.teacher import LatentPrediction

COUNTED = 2  # images whose operations are counted: unfused attention of a whole batch may not fit


class PretrainSteps:
    """A method of a config on a device, with a batch of made-up images; strategies that read maps get random ones.

    Each step updates the weights, whatever `accumulative_counts` of the config says: configs that accumulate over
    different numbers of batches compare, and other code, too.

    Args:
        cfg: of a pretraining, precision set.
        batch_size: images of a step.
        device: where it runs.
        compile_loss: None: the config says it; "inductor", or another backend of torch.compile.
    """

    def __init__(self, cfg: Config, batch_size: int, device: str, compile_loss: str | None = None):
        init_default_scope("mimtransfer")
        if compile_loss is not None:
            cfg.model.compile_loss = compile_loss
        torch.manual_seed(0)
        model: Any = MODELS.build(cfg.model)
        self.cfg, self.model = cfg, model.to(device).train()
        cfg.optim_wrapper.accumulative_counts = 1
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        sizes = zip(self.model.encoder.grid_size, self.model.encoder.patch_size)
        self.height, self.width = (cells * patch for cells, patch in sizes)
        shape = (batch_size, self.model.in_chans, self.height, self.width)
        self.inputs = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        numbers = torch.arange(batch_size)
        box = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(batch_size, 1)
        self._loaded = AugRecord(numbers, numbers, box, torch.zeros(batch_size, dtype=torch.bool))
        self.record = AugRecord(*(part.to(device) for part in self._loaded))
        self.images = self.model.data_preprocessor(self.data, True)["inputs"]
        self._draw_maps(batch_size)

    def _draw_maps(self, num_images: int) -> None:
        if self.measured:
            self.model.strategy.bank = MapBank(torch.rand(num_images, *self.model.encoder.grid_size).half())

    @property
    def data(self) -> dict[str, Any]:
        """A batch: images on the device, the record on the host as the loader gives it."""
        return dict(inputs=self.inputs, record=self._loaded)

    @property
    def measured(self) -> bool:
        """Whether the strategy reads maps."""
        return isinstance(self.model.strategy, Measured)

    def train(self, data: dict[str, Any] | None = None) -> None:
        """Do a whole training step, normalisation and drawing included, and the teacher's, where there is one."""
        self.model.train_step(self.data if data is None else data, self.optim_wrapper)
        if isinstance(self.model, LatentPrediction):
            self.model.update_teacher(0.5)

    def flops(self) -> int | None:
        """Count the operations of a loss and its gradients for the whole batch, without the tokenizer's."""
        return loss_flops(self.model, self.images, self.record)

    def step(self, loader: DataLoader | None = None) -> Contender:
        """Return the training step as a contender.

        Args:
            loader: of the batches, for which the step waits; None: the made-up batch.
        """
        flops = self.flops()
        if loader is None:
            return Contender(self.train, len(self.inputs), flops)
        self._draw_maps(len(loader.dataset))  # type: ignore[arg-type]
        batches = endless_batches(loader)
        return Contender(lambda: self.train(next(batches)), len(self.inputs), flops)

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Return what may be timed alone: "drawing a layout", or of MFM "filter and loss"; "measuring maps"."""
        model, images, record = self.model, self.images, self.record
        if isinstance(model, MFM):
            prediction = torch.randn_like(images, requires_grad=True)

            def filter_and_compare() -> None:
                drawn = model.draw_layout(images, record)
                model.frequency_loss(prediction, images, drawn.kept).backward()

            return {"filter and loss": filter_and_compare}
        masks = model.masks_per_image
        found: dict[str, Callable[[], Any]] = {"drawing a layout": lambda: model.draw_layout(images, record, masks)}
        if self.measured:
            found["measuring maps"] = lambda: measure_maps(model, self.inputs, amp=True)
        return found


def loss_flops(model: Any, images: Tensor, record: AugRecord, drawing: bool = False) -> int | None:
    """Count the operations of a method's loss and its gradients for a batch; the model is left as it was.

    Args:
        images: [B, C, H, W], normalised; the operations of the first ones are counted.
        drawing: count those of `draw_layout`, too: a tokenizer's; a teacher's are always counted.
    """
    batch = len(images)
    counted = batch if batch % COUNTED else COUNTED
    record, images = type(record)(*(part if part is None else part[:counted] for part in record)), images[:counted]
    masks = model.masks_per_image
    drawing = drawing or model.has_teacher  # with `source='teacher'` its pass makes the maps, else the loss runs it
    drawn = None if drawing else model.draw_layout(images, record, masks)
    loss: Any = type(model).loss  # of compiled code nobody sees the operations
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    training = model.training
    model.eval()

    def once() -> None:
        losses = loss(model, images, model.draw_layout(images, record, masks) if drawing else drawn)
        torch.autograd.grad(sum(losses.values()), weights, allow_unused=True)

    found = count_flops(once, batch // counted)
    model.train(training)
    return found


def load(path: str, options: list[str], amp: bool) -> Config:
    """Read a config, and put the precision policy in force."""
    cfg = load_config(path, options)
    set_amp(cfg, amp)
    set_precision(cfg)
    torch.backends.cudnn.benchmark = cfg.env_cfg.get("cudnn_benchmark", False)  # as the Runner will
    return cfg


def write_random_dvae(path: Path, width: int = 256, num_codes: int = 8192) -> None:
    """Write a state dict with names and shapes of DALL-E's published encoder, and random weights.

    Args:
        path: where to.
        width: 256 in the published one.
        num_codes: 8192 there.
    """
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"blocks.input": (width, 3, 7, 7)}
    inside = width
    for group, factor in enumerate((1, 2, 4, 8), start=1):
        outside = width * factor
        for block in (1, 2):
            name, hidden = f"blocks.group_{group}.block_{block}", outside // 4
            if inside != outside:
                shapes[f"{name}.id_path"] = (outside, inside, 1, 1)
            shapes[f"{name}.res_path.conv_1"] = (hidden, inside, 3, 3)
            shapes[f"{name}.res_path.conv_2"] = shapes[f"{name}.res_path.conv_3"] = (hidden, hidden, 3, 3)
            shapes[f"{name}.res_path.conv_4"] = (outside, hidden, 1, 1)
            inside = outside
    shapes["blocks.output.conv"] = (num_codes, inside, 1, 1)
    state = {}
    for name, shape in shapes.items():
        spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"{name}.w"] = torch.randn(shape, generator=generator) * spread
        state[f"{name}.b"] = torch.zeros(shape[0])
    torch.save(state, path)
