"""From a config of tools/pretrain.py or tools/train.py to the plan of its run."""
from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.planning.gpus import Gpu
from mimtransfer.planning.plan import Plan, make_plan, quick_seconds
from mimtransfer.planning.step import Task
from pretrain.planning.phases import dearest_phase
from pretrain.planning.task import pretraining_task
from pretrain.runner import register_all


def plan_config(path: str, options: list[str], **asked: Any) -> Plan:
    """Plan the run of a config of tools/pretrain.py or tools/train.py.

    Args:
        options: `KEY=VALUE` of the command line.
        asked: of `make_plan`.

    Raises:
        UserError: it is no config of a training; see `make_plan`.
    """
    cfg, shipped, task = _read(path, options)
    dearest = dearest_phase(cfg, asked.get("amp", True))
    if dearest is None:
        return make_plan(path, cfg, shipped, task, **asked)
    plan = make_plan(path, dearest.cfg, shipped, dearest.task, **asked)
    return plan._replace(work=dearest.work, notes=(*plan.notes, dearest.note))


def estimate_seconds(path: str, options: list[str], gpu: Gpu, gpus: int, amp: bool) -> float | None:
    """Return about how long the training of a config takes; None where that cannot be said."""
    cfg, shipped, task = _read(path, options)
    dearest = dearest_phase(cfg, amp)
    if dearest is None:
        return quick_seconds(cfg, shipped, task, gpu, gpus, amp)
    seconds = quick_seconds(dearest.cfg, shipped, dearest.task, gpu, gpus, amp)
    return None if seconds is None else seconds * dearest.work


def _read(path: str, options: list[str]) -> tuple[Config, Config, Task]:
    from mimtransfer.cli import launch  # with mmengine's Runner

    shipped, cfg = (launch.load_config(path, given) for given in ([], options))
    for key in ("model", "train_dataloader", "train_cfg", "optim_wrapper"):
        if cfg.get(key) is None:
            raise UserError(f"config {path!r} trains nothing (it has no {key}), so there is nothing to plan; give one "
                            "of tools/pretrain.py or tools/train.py")
    launch.enter_scope(cfg)
    if cfg.get("task") is None and cfg.get("default_scope", "mimtransfer") == "mimtransfer":
        register_all()
        task = pretraining_task(cfg)
    else:
        from mimtransfer.planning.tasks import transfer_task

        task = transfer_task(cfg)
    return cfg, shipped, task
