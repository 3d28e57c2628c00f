"""RecordHook: writes `result.json` when a pretraining, a transfer training or a test ends."""
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner

from mimtransfer.registry import HOOKS
from mimtransfer.results import description, provenance
from mimtransfer.results.closing import closing_box
from mimtransfer.results.description import tokenizer_of
from mimtransfer.results.fingerprint import fingerprint, protocol_config, with_tokenizer
from mimtransfer.results.measurement import (
    CostMeter,
    num_images,
    raw_metrics,
    read_curves,
    standard_metrics,
    without_detections,
)
from mimtransfer.results.object_counts import with_counts
from mimtransfer.results.record import SCHEMA, merge_earlier, write_record
from mimtransfer.training import precision
from mimtransfer.training.compilation import compiled_parts

# Under this key of a checkpoint's meta: which run wrote it. A transfer record names its pretraining from there,
# wherever the file has moved.
META_KEY = "mimtransfer"


@HOOKS.register_module()
class RecordHook(Hook):
    """Write what ran, what came out and what it cost to `<work_dir>/result.json`, and sign every checkpoint.

    Works in pretraining, mmdet and mmseg Runners, for training (with validation) and for testing alone. A test whose
    checkpoint was signed completes the record of that training; an unsigned one, or a second run's, gets a record of
    its own in the log folder.

    Args:
        label: name of the table's row; by default the pretraining's (`MAE`, `MAE + FAMT`), the checkpoint's file name,
            or `random init`.
        warmup: iterations left out of the throughput at the start of each process.
    """

    # Before LoggerHook, which resets CUDA's memory peak, and CheckpointHook, whose time does not count.
    priority = "ABOVE_NORMAL"

    def __init__(self, label: str | None = None, warmup: int = 10) -> None:
        self.label, self.warmup = label, warmup
        self._began, self._trained = False, False
        self._loaded: tuple[str | None, dict[str, Any]] | None = None  # path and meta of the Runner's own checkpoint
        self._evaluation: tuple[str, int | None, dict[str, Any]] | None = None  # val or test, iteration, metrics

    def before_run(self, runner: Runner) -> None:
        """Note what runs, before the code or the data can change."""
        if self._began:  # train, then test, in one process
            return
        self._began, self._meter = True, CostMeter(self.warmup)
        self._task = description.task_of(runner.cfg)
        self._run_id = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        self._started_at, self._seed, self._processes = provenance.now(), runner.seed, get_world_size()
        self._init: dict[str, Any] = {}
        self._precision: dict[str, Any] | None = None
        self._reading: dict[str, Any] | None = None
        self._git = provenance.git_state() if is_main_process() else None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what the Runner's checkpoint says about its origin."""
        if not self._trained:
            self._loaded = (runner._load_from, checkpoint.get("meta") or {})

    def before_train(self, runner: Runner) -> None:
        """Go on with the resumed run's account, or open one."""
        self._trained = True
        signed = self._signature()
        if runner._resume and signed.get("kind") == self._kind:
            description.check_tokenizer(tokenizer_of(runner), signed.get("tokenizer"))
            self._run_id, self._started_at, self._init = signed["run_id"], signed["started_at"], signed["init"]
            self._meter.resume(signed["cost"])
        else:
            self._init = description.initialisation(runner, None if runner._resume else self._loaded)
        self._meter.begin(runner.max_iters - runner.iter)
        self._note_conditions(runner, runner.train_loop)

    def before_test(self, runner: Runner) -> None:
        """Note the conditions, unless a training has."""
        if not self._trained:
            self._note_conditions(runner, runner.test_loop)

    def _note_conditions(self, runner: Runner, loop: Any) -> None:
        self._precision = precision.in_force(runner.model, getattr(runner, "optim_wrapper", None), runner.cfg)
        runner.logger.info(precision.in_words(self._precision))
        if reading := provenance.reading(loop):
            self._reading = reading
            runner.logger.info(f"Images: {reading['source']}, decoder {reading['decoder'] or 'none'}")

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock of the throughput."""
        self._meter.begin_epoch()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the images of this iteration."""
        self._meter.iteration(num_images(data_batch))
        # To ask for the peak costs the host as much as some kernels; LoggerHook resets it when it logs.
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, hook.interval) for hook in runner.hooks if isinstance(hook, LoggerHook)
        ):
            self._meter.see_peak()

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop the clock: what follows is no training."""
        self._meter.pause()

    def before_val(self, runner: Runner) -> None:
        """Stop the clock: iteration-based loops validate in mid-epoch."""
        self._meter.pause()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Stop the clock and sign the checkpoint."""
        self._meter.pause()
        meta, backbone = checkpoint.setdefault("meta", {}), description.backbone_of(runner.cfg)
        meta[META_KEY] = {
            "kind": self._kind,
            "run_id": self._run_id,
            **self._names(runner),
            "protocol": description.protocol_of(runner.cfg),
            "backbone": backbone["type"],
            "arch": backbone["arch"],
            "grid": description.grid_of(runner),
            "normalisation": description.normalisation_of(runner),
            "tokenizer": tokenizer_of(runner),
            **self._schedule(runner),
            "epoch": meta.get("epoch"),
            "iter": meta.get("iter"),
            "seed": runner.seed,
            "config_fingerprint": fingerprint(self._config(runner)),
            "processes": self._processes,
            **provenance.device(),
            "started_at": self._started_at,
            "images_per_s": self._images_per_s(),
            "cost": self._meter.state(),
            "init": self._init,
        }

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the newest evaluation."""
        self._evaluation = ("val", self._weights_iter(runner), metrics or {})

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the newest evaluation; a test stands above a validation."""
        self._evaluation = ("test", self._weights_iter(runner), metrics or {})

    def after_run(self, runner: Runner) -> None:
        """Write the record, on the first rank."""
        self._meter.pause()
        loss = _final_loss(runner) if self._trained and self._task == "pretrain" else None
        peak = torch.tensor(self._meter.peak_memory_bytes)
        all_reduce(peak, op="max")
        if not is_main_process():
            return
        if not self._trained:
            self._restore_tested_run(runner)
        record = self._record(runner, loss, int(peak))
        idle = self._trained and self._meter.iterations == 0 and self._evaluation is None
        frozen = not self._trained and self._loaded is None
        folder = merge_earlier(record, runner.work_dir, runner.log_dir, idle, frozen)
        if folder is None:
            runner.logger.info("nothing was left to train: the record of this run stays as it is")
        else:
            curves = any(Path(runner.log_dir).glob("vis_data/events.out.tfevents.*"))
            of_training = not self._trained and not frozen
            lost = provenance.unreadable(runner.train_loop) if self._trained else []
            box = closing_box(record, runner.work_dir, curves, of_training=of_training, unreadable=lost)
            runner.logger.info(f"result written to {write_record(record, folder)}\n{box}")

    @property
    def wall_s(self) -> float:
        """Seconds of the run so far; see `CostMeter.wall_s`."""
        return self._meter.wall_s

    @property
    def _kind(self) -> str:
        return "pretrain" if self._task == "pretrain" else "transfer"

    def _signature(self) -> dict[str, Any]:
        return (self._loaded[1].get(META_KEY) if self._loaded else None) or {}

    def _weights_iter(self, runner: Runner) -> int | None:
        """Return after how many iterations the weights are those in the model."""
        if self._trained:
            return runner.iter
        return self._loaded[1].get("iter") if self._loaded else None

    def _restore_tested_run(self, runner: Runner) -> None:
        signed = self._signature()
        if signed.get("kind") != "transfer":
            unknown = {"kind": "unknown", "path": self._loaded[0]} if self._loaded else None
            self._init = unknown or description.initialisation(runner, None)
            return
        self._run_id, self._seed, self._init = signed["run_id"], signed["seed"], signed["init"]
        self._processes = signed["processes"]

    def _names(self, runner: Runner) -> dict[str, str | None]:
        """Return label, method and strategy; of a transfer, those of its pretraining."""
        if self._task == "pretrain":
            names = description.names_of_pretraining(runner.cfg, len(runner.train_dataloader.dataset))
        else:
            signed = None if self._trained else self._signature().get("label")
            names = description.names_of_transfer(runner.cfg, self._init, signed)
        return names | {"label": self.label or names["label"]}

    def _schedule(self, runner: Runner) -> dict[str, Any]:
        if not self._trained:
            return {key: self._signature().get(key) for key in ("epochs", "iters")}
        by_epoch = (runner.cfg.get("train_cfg") or {}).get("max_epochs") is not None
        schedule = {"epochs": runner.max_epochs if by_epoch else None, "iters": runner.max_iters}
        return schedule | description.masks_and_phases_of(runner)

    def _images_per_s(self) -> float | None:
        speed = self._meter.images_per_s
        return None if speed is None else speed * self._processes

    def _config(self, runner: Runner, on: str = "val") -> dict[str, Any]:
        return with_tokenizer(protocol_config(runner.cfg, on, self._processes), tokenizer_of(runner))

    def _scored(self, runner: Runner) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the protocol's config, the metrics, and the metrics as the evaluator gave them."""
        if self._evaluation is None:
            return self._config(runner), {}, {}
        on, iteration, metrics = self._evaluation
        raw = raw_metrics(metrics)
        empty = without_detections(raw, runner.cfg.get(f"{on}_evaluator"))
        raw.update(empty)
        config = self._config(runner, on)
        if iteration != (runner.iter if self._trained else self._schedule(runner)["iters"]):
            # A best or early checkpoint is another protocol than the last one.
            config["evaluated_weights"] = "not the last"
        return config, with_counts(standard_metrics(raw, empty), getattr(runner, f"{on}_loop").evaluator), raw

    def _record(self, runner: Runner, loss: float | None, peak: int) -> dict[str, Any]:
        config, metrics, raw = self._scored(runner)
        protocol = description.protocol_of(runner.cfg)
        if loss is not None:
            metrics["loss"] = {"value": loss, "unit": "loss"}
        if not metrics:
            why = (f"none of {', '.join(raw)} is a metric of mimtransfer/results/measurement.py" if raw else
                   "no evaluation has run")
            runner.logger.warning(f"RecordHook: {why}, so the record has no metrics; "
                                  f"{'add one there' if raw else 'run tools/test.py'}")
        on, iteration, _ = self._evaluation or (None, runner.iter if self._trained else None, None)
        return {
            "schema": SCHEMA,
            "kind": self._kind,
            "mode": "train" if self._trained else "test",
            "run_id": self._run_id,
            "task": self._task,
            **self._names(runner),
            "backbone": description.backbone_of(runner.cfg),
            "tokenizer": tokenizer_of(runner),
            "schedule": self._schedule(runner),
            "protocol": {"name": protocol, "fingerprint": fingerprint(config), "config": config},
            "data_fingerprint": {} if self._task == "pretrain" else provenance.data_digests(runner.cfg, on or "val"),
            "seed": runner.seed if self._trained else self._seed,  # a resume brings the seed of its run
            "init": self._init,
            "metrics": metrics,
            "raw_metrics": raw,
            "evaluated": {"on": on, "iter": iteration},
            "cost": self._cost(runner, peak),
            "files": provenance.run_files(runner, None if self._trained or self._loaded is None else self._loaded[0]),
            "curves": read_curves(runner.work_dir, self._schedule(runner), self._started_at) if self._trained else {},
            "precision": self._precision,
            "reading": self._reading,
            "versions": provenance.versions(),
            "git": self._git,
            "command": provenance.command_line(),
            "started_at": self._started_at,
            "finished_at": provenance.now(),
        }

    def _cost(self, runner: Runner, peak: int) -> dict[str, Any]:
        cost: dict[str, Any] = {"images_per_s": self._images_per_s(), "wall_s": self._meter.wall_s}
        cost["peak_memory_bytes"] = peak
        batch = (runner.cfg.get("train_dataloader") or {}).get("batch_size")
        if self._trained:
            cost |= provenance.device() | provenance.measuring(runner.message_hub, cost["wall_s"])
            cost["compiled"] = compiled_parts(runner.model)
            batch = getattr(runner.train_dataloader, "batch_size", None) or batch
        elif self._loaded is None:  # frozen features: the evaluation is all there is
            cost |= provenance.device()
        else:  # what the checkpoint says of its training
            signed = self._signature()
            spent = signed.get("cost") or {}
            cost = {"images_per_s": signed.get("images_per_s"), "wall_s": spent.get("wall_s")}
            cost |= {"peak_memory_bytes": spent.get("peak_memory_bytes"), "device": None, "device_type": None}
        accumulation = (runner.cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
        return {
            **cost,
            "processes": self._processes,
            "effective_batch": None if batch is None else batch * self._processes * accumulation,
        }


def _final_loss(runner: Runner) -> float | None:
    """Return the mean loss over the last pass through the data and over the ranks; None when none was logged.

    Call it on every rank.
    """
    history = runner.message_hub.log_scalars.get("train/loss")
    if history is None:
        return None
    window = min(len(runner.train_dataloader), runner.iter)
    loss = torch.tensor(float(history.mean(window)), dtype=torch.float64)
    all_reduce(loss, op="mean")
    return float(loss)
