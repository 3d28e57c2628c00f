"""MarkHook: keeps the encoder at given numbers of images and seconds of training, with what it has cost so far."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from mimtransfer.benchmarks.timing import count_flops
from mimtransfer.benchmarks.training_clock import Seconds, TrainingClock
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.registry import HOOKS
from mimtransfer.results.measurement import num_images
from mimtransfer.results.provenance import MEASURING
from mimtransfer.results.record import is_number
from mimtransfer.results.record_hook import RecordHook
from mimtransfer.stored import read_object
from mimtransfer.training.whole_files import published
from pretrain.benchmarks.steps import COUNTED, loss_flops
from pretrain.hooks.map_bank import MapBankHook, measure_maps

META_KEY = "marks"  # of a checkpoint's meta: what the run has cost until then
FOLDER = "marks"  # in the work dir
_PASSES = "passes.json"  # in that folder: passes that measured maps


@HOOKS.register_module()
class MarkHook(Hook):
    """Save the encoder as `marks/NAME.pth` in the work dir, and beside it `NAME.json` with images, seconds and GFLOP.

    Names are `images-N`, `seconds-N` and, for the last iteration, `end`. Nothing that the run computes changes. Saving,
    pictures and counting are no training, passes that measure maps are; see `TrainingClock`. GFLOP are counted by torch
    at the first step of each epoch (forward and backward, matrix products and convolutions) and for each pass.

    Args:
        images: a mark is the first iteration after which so many images have been seen; 0 is the untrained encoder.
        seconds: a mark is the first iteration after which training has taken so long.
        clock: `cpu` or `wall`, the clock of these marks.
        turn_epochs: the process ends, with status 0, after each such number of epochs, to be resumed later.
        warmup: iterations at the start of each process, see `TrainingClock`; at most a quarter of a turn's.

    Raises:
        UserError: a value out of its range, several processes, or a run by iterations.
    """

    # Before MapBankHook measures and CheckpointHook saves.
    priority = "VERY_HIGH"

    def __init__(self, images: Sequence[int] = (), seconds: Sequence[float] = (), clock: str = "cpu",
                 turn_epochs: int = 1, warmup: int = 10) -> None:
        if clock not in Seconds._fields or turn_epochs < 1:
            raise UserError(f"MarkHook: got clock={clock!r}, turn_epochs={turn_epochs}; expected 'cpu' or 'wall', and "
                            "1 or more")
        self.images, self.seconds, self.clock = sorted(images), sorted(seconds), clock
        self.turn_epochs, self.warmup = turn_epochs, warmup
        self._cost = {"cpu_s": 0.0, "wall_s": 0.0, "gflop": 0.0, "images": 0}
        self._num_passes = 0  # as logged, before the epoch

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on from what the resumed run has cost."""
        cost = (checkpoint.get("meta") or {}).get(META_KEY) if runner._resume else None
        if cost is None:
            return
        if not (isinstance(cost, dict) and all(is_number(cost.get(key)) for key in self._cost)):
            raise UserError(f"MarkHook: the checkpoint says of its cost {repr(cost)[:80]}, expected numbers; resume "
                            "from another checkpoint")
        self._cost = {key: cost[key] for key in self._cost}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say what the run has cost so far."""
        checkpoint["meta"][META_KEY] = self._so_far()

    def before_train(self, runner) -> None:
        """Remove marks that a killed process has left and that come again; keep the untrained encoder."""
        if get_world_size() > 1 or not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError("MarkHook: got several processes or a run by iterations, expected one process and epochs")
        if runner.train_dataloader.num_workers and self.clock == "cpu":
            runner.logger.warning("MarkHook: CPU seconds are those of this process; set train_dataloader.num_workers=0 "
                                  "to count the loading of images, too")
        self._folder = Path(runner.work_dir, FOLDER)
        self._folder.mkdir(parents=True, exist_ok=True)
        turn = min(self.turn_epochs, runner.max_epochs - runner.epoch) * len(runner.train_dataloader)
        self._clock = TrainingClock(min(self.warmup, turn // 4))
        self._clock.begin(self._cost)
        self._first_epoch, self._marked = runner.epoch, set()
        self._passes = self._read_passes(runner.epoch)
        for path in self._folder.glob("*-*.json"):
            if self._is_passed(path):
                self._marked.add(path.stem)
            else:
                path.unlink()
        if runner.iter == 0 and self.images[:1] == [0]:
            self._save("images-0", runner)

    def _is_passed(self, path: Path) -> bool:
        try:
            return read_object(path, {"images": int}, "")["images"] <= self._cost["images"]
        except UserError:
            return False

    def before_train_epoch(self, runner) -> None:
        """End the turn, or start the clock: measuring maps comes next."""
        if runner.epoch > self._first_epoch and runner.epoch % self.turn_epochs == 0:
            raise SystemExit(0)
        self._num_passes = _num_passes(runner)
        self._clock.start()

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Account for what lies before the first iteration of an epoch, and count the operations of its steps."""
        if batch_idx:
            return
        measured = _num_passes(runner) > self._num_passes
        passed = Seconds(0.0, 0.0)
        if measured or runner.epoch > self._first_epoch:
            passed = self._clock.add_pass()
        else:  # loaders and kernels of a new process
            self._clock.leave_out()
        if (earlier := self._passes.get(str(runner.epoch))) is not None:  # its maps were found, or measured again
            cpu, wall, gflop = earlier
            self._clock.add(Seconds(max(0.0, cpu - passed.cpu), max(0.0, wall - passed.wall)))
            self._cost["gflop"] += gflop
        elif measured:
            self._count_pass(runner, passed)
        self._clock.stop()
        with torch.random.fork_rng():
            batch = runner.model.data_preprocessor(data_batch, True)
            flops = loss_flops(runner.model, batch["inputs"], batch["record"], drawing=True)
        self._gflop_of_step = _gflop(flops)
        self._clock.start()

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the iteration, and save where marks are reached."""
        self._clock.iteration()
        self._cost["images"] += num_images(data_batch)
        self._cost["gflop"] += self._gflop_of_step
        spent = getattr(self._clock.total, self.clock)
        reached = [f"images-{mark}" for mark in self.images if mark <= self._cost["images"]]
        reached += [f"seconds-{mark}" for mark in self.seconds if mark <= spent]
        if new := [name for name in reached if name not in self._marked]:
            self._clock.stop()
            for name in new:
                self._save(name, runner, 1)
            self._clock.start()

    def after_train_epoch(self, runner) -> None:
        """Stop the clock; the last epoch ends with a mark."""
        self._clock.stop()
        if runner.epoch + 1 == runner.max_epochs:
            self._save("end", runner)
            missed = [f"seconds-{mark}" for mark in self.seconds if f"seconds-{mark}" not in self._marked]
            missed += [f"images-{mark}" for mark in self.images if f"images-{mark}" not in self._marked]
            if missed:
                runner.logger.info(f"marks that this run did not reach: {', '.join(missed)}")

    def _count_pass(self, runner, passed: Seconds) -> None:
        """Add the operations of a pass over all images, and note it: a killed run does not measure it again."""
        self._clock.stop()
        images = next(hook.images for hook in runner.hooks if isinstance(hook, MapBankHook))
        part = torch.stack([images[number]["inputs"] for number in range(COUNTED)])
        with torch.random.fork_rng():
            flops = count_flops(lambda: measure_maps(runner.model, part, amp=False))
        gflop = _gflop(flops) / len(part) * len(images)
        self._cost["gflop"] += gflop
        self._passes[str(runner.epoch)] = [passed.cpu, passed.wall, gflop]
        write_atomically(self._folder / _PASSES, json.dumps({"passes": self._passes}))

    def _read_passes(self, epoch: int) -> dict[str, list[float]]:
        """Return the passes that a killed process has made after the checkpoint, by their epochs."""
        path = self._folder / _PASSES
        if not path.exists():
            return {}
        found = read_object(path, {"passes": dict}, "remove it")["passes"]
        if not all(number.isdecimal() and isinstance(cost, list) and len(cost) == 3 and all(map(is_number, cost))
                   for number, cost in found.items()):  # fmt: skip
            raise UserError(f"{path}: expected epoch -> [CPU seconds, seconds, GFLOP]; remove it")
        return {number: cost for number, cost in found.items() if int(number) >= epoch}

    def _so_far(self) -> dict[str, float]:
        spent = self._clock.total
        return {**self._cost, "cpu_s": spent.cpu, "wall_s": spent.wall}

    def _save(self, name: str, runner, iterations: int = 0) -> None:
        """Save the encoder and what it cost.

        Args:
            iterations: since the Runner counted.
        """
        encoder = {f"encoder.{key}": value for key, value in runner.model.encoder.state_dict().items()}
        meta: dict[str, Any] = {"epoch": runner.epoch, "iter": runner.iter + iterations}
        checkpoint = {"meta": meta, "state_dict": encoder}
        for hook in runner.hooks:  # the record of an evaluation names the pretraining
            if isinstance(hook, RecordHook):
                hook.before_save_checkpoint(runner, checkpoint)
        path = self._folder / f"{name}.json"
        path.unlink(missing_ok=True)
        with published(path.with_suffix(".pth")) as part:
            torch.save(checkpoint, part)
        about = {"mark": name, "iter": meta["iter"], **self._so_far()}
        write_atomically(path, json.dumps(about) + "\n")
        self._marked.add(name)


def _num_passes(runner) -> int:
    """Return how many passes `MapBankHook` has logged."""
    hub = runner.message_hub
    return len(hub.get_scalar(MEASURING).data[0]) if MEASURING in hub.log_scalars else 0


def _gflop(flops: int | None) -> float:
    if flops is None:  # attention is counted unfused: that takes more memory than the step
        raise UserError("MarkHook: the GPU has no memory to count the operations of a step; lower the batch size")
    return flops / 1e9
