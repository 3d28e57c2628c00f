"""PhaseHook: smaller images or other mask ratios for a share of the training.

Small crops first, as in FixRes (Touvron et al., NeurIPS 2019, arXiv 1906.06423) and EfficientNetV2 (Tan and Le, ICML
2021, arXiv 2104.00298, sec. 4), whose augmentation grows with the image; here the mask ratio may. Within a phase all
shapes are static.
"""
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS
from pretrain.aug_record import AugRecord

_SETTINGS = ("image_size", "mask_ratio", "throw_ratio")


class Phase(NamedTuple):
    """What holds for some of the epochs. What is None is as in the config.

    Attributes:
        begin, end: first epoch, and the first one after the phase, from 0.
        image_size: (height, width) of the crops.
    """

    begin: int
    end: int
    image_size: tuple[int, int] | None
    mask_ratio: float | None
    throw_ratio: float | None

    def __str__(self) -> str:
        sides = self.image_size
        named = {"images": None if sides is None else f"{sides[0]} x {sides[1]}", "mask_ratio": self.mask_ratio,
                 "throw_ratio": self.throw_ratio}
        settings = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
        return f"epochs {self.begin} to {self.end - 1}: {settings or 'as in the config'}"


def read_phases(phases: Sequence[dict[str, Any]], epochs: int) -> list[Phase]:
    """Turn shares of the training into epochs, rounded.

    Args:
        phases: of `PhaseHook`.
        epochs: of the training.

    Raises:
        UserError: an unknown or missing key, shares that do not grow up to 1, or a phase without an epoch.
    """
    if not isinstance(phases, (list, tuple)) or not phases:
        raise UserError(f"PhaseHook: got phases={phases!r}; expected a list, e.g. [dict(until=0.5, image_size=128), "
                        "dict(until=1.0)]")
    found: list[Phase] = []
    for phase in phases:
        until = phase.get("until")
        size = phase.get("image_size")
        sides = (size, size) if isinstance(size, int) else size
        right = sides is None or (isinstance(sides, (list, tuple)) and len(sides) == 2
                                  and all(type(side) is int and side > 0 for side in sides))
        unknown = set(phase) - {"until", *_SETTINGS}
        if unknown or not right or not isinstance(until, (int, float)) or not 0 < until <= 1:
            raise UserError(f"PhaseHook: got the phase {dict(phase)}; expected until=, a share of the training above 0 "
                            "and up to 1, and any of image_size (side, or height and width), mask_ratio, throw_ratio")
        begin, end = found[-1].end if found else 0, round(until * epochs)
        if end <= begin:
            raise UserError(f"PhaseHook: the phase {dict(phase)} has none of the {epochs} epochs; expected shares that "
                            "grow, and phases of an epoch at least")
        found.append(Phase(begin, end, None if sides is None else (sides[0], sides[1]), phase.get("mask_ratio"),
                           phase.get("throw_ratio")))
    if found[-1].end != epochs:
        raise UserError(f"PhaseHook: the last phase ends at until={phases[-1]['until']}; expected 1.0")
    return found


@HOOKS.register_module()
class PhaseHook(Hook):
    """Set the size of the crops and the ratios of the strategy, phase by phase; a phase begins with an epoch.

    Which phase an epoch has follows from its number alone, so a resumed run goes on as one that was never stopped.
    Crops are fractions of the image, drawn as without phases; maps are measured, and positions are made, for the
    size of the config, and positions are resampled for others. With `torch.compile` each phase is one more graph.

    Args:
        phases: one after the other, `dict(until=0.5, image_size=128)`: `until` is the share of the epochs after which
            the next begins, 1.0 in the last. `image_size` (side, or height and width), `mask_ratio`, `throw_ratio`;
            what a phase leaves out is as in the config. Ratios are the strategy's, not those of its warm-up.

    Raises:
        UserError: before training begins: see `read_phases`; a run counted in iterations; a size or ratio that method,
            strategy, tokenizer or data set cannot have.
    """

    priority = "VERY_HIGH"  # before the map bank looks at the strategy

    def __init__(self, phases: Sequence[dict[str, Any]]) -> None:
        read_phases(phases, 10**9)
        self.phases, self._current = phases, -1

    def before_train(self, runner) -> None:
        """Try each phase with a black image: a mistake in the last would show after days."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError("PhaseHook: the training is counted in iterations; expected train_cfg with max_epochs")
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._images, self._found = runner.train_dataloader.dataset, read_phases(self.phases, runner.max_epochs)
        if not hasattr(getattr(self._images, "transform", None), "resized"):
            raise UserError(f"PhaseHook: {type(self._images).__name__} shows images of one size only; expected "
                            "ImageFolder or ImageSource with a transform like RandomResizedCropFlip")
        strategy = self._model.strategy
        self._ratios = None if strategy is None else (strategy.mask_ratio, strategy.throw_ratio)
        for phase in self._found:
            self._set(phase)
            self._try(phase)
        self._current = -1

    def before_train_epoch(self, runner) -> None:
        """Set the phase of this epoch, before the loader asks its workers for images."""
        number = next(i for i, phase in enumerate(self._found) if runner.epoch < phase.end)
        if number != self._current:
            self._current = number
            self._set(self._found[number])
            runner.logger.info(f"Phase {number + 1} of {len(self._found)}, {self._found[number]}")

    def _set(self, phase: Phase) -> None:
        self._images.image_size = phase.image_size
        if self._ratios is None:
            if phase.mask_ratio is not None or phase.throw_ratio is not None:
                raise UserError(f"PhaseHook: {type(self._model).__name__} has no strategy, whose ratios could change; "
                                "expected phases with image_size only")
            return
        mine = (phase.mask_ratio, phase.throw_ratio)
        self._model.strategy.set_ratios(*(own if given is None else given for given, own in zip(mine, self._ratios)))

    @torch.no_grad()
    def _try(self, phase: Phase) -> None:
        model, size = self._model, self._images.transform.size
        sides = phase.image_size or size
        device = next(model.parameters()).device
        images = torch.zeros(1, model.in_chans, *sides, device=device)
        number = torch.zeros(1, dtype=torch.int64, device=device)
        record = AugRecord(number, number, torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device), number.bool())
        try:
            model.draw_layout(images, record)
        except UserError as error:
            raise UserError(f"PhaseHook, {phase}: {error}") from error
