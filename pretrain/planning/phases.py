"""What the phases of a run cost: the dearest decides the memory, all of them the hours."""
import copy
from typing import NamedTuple

from mmengine.config import Config

from mimtransfer.planning.plan import quiet
from mimtransfer.planning.step import FakeStep, Task
from mimtransfer.results.description import phases_of
from pretrain.hooks.phases import read_phases
from pretrain.planning.task import pretraining_task


class Dearest(NamedTuple):
    """The phase of a run with the most operations.

    Attributes:
        cfg, task: of a run that has this phase only.
        work: operations of a mean image of the whole run over those of an image of this phase, in (0, 1].
        note: a line about it.
    """

    cfg: Config
    task: Task
    work: float
    note: str


def dearest_phase(cfg: Config, amp: bool) -> Dearest | None:
    """Compare the phases by one fake step each; None: the config has none.

    Raises:
        UserError: see `read_phases`.
    """
    phases = phases_of(cfg)
    if phases is None:
        return None
    epochs = cfg.train_cfg.max_epochs
    found = []
    for phase in read_phases(phases, epochs):
        own = copy.deepcopy(cfg)
        if phase.image_size is not None:
            own.train_dataloader.dataset.transform.size = phase.image_size
        ratios = {key: getattr(phase, key) for key in ("mask_ratio", "throw_ratio") if getattr(phase, key) is not None}
        if ratios:
            own.model.strategy.update(ratios)
        task = pretraining_task(own)
        with quiet():
            flops = FakeStep(own, task, amp).run(2).flops
        found.append((flops, (phase.end - phase.begin) / epochs, own, task, phase))
    most, _, own, task, phase = max(found, key=lambda one: one[0])
    work = sum(flops * share for flops, share, *_ in found) / most
    return Dearest(own, task, work, f"{len(found)} phases: memory and rate are those of {phase}; an image of the run "
                                    f"takes {work:.2f} of its operations in the mean, which the hours count")
