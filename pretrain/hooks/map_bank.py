"""MapBankHook: measure the maps of all training images, every few tens of epochs (AMT sec. 3.2, arXiv 2211.15362)."""
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, broadcast_object_list, get_dist_info, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.backbones.inspect import view_block
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.registry import HOOKS
from mimtransfer.results.provenance import MEASURING, measuring
from mimtransfer.results.record_hook import RecordHook
from mimtransfer.stored import read_object
from pretrain.data.transforms import ResizeWhole
from pretrain.hooks.map_schedule import MapSchedule, needed
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured
from pretrain.methods.base import MIMethod

META_KEY = "map_bank"  # of a checkpoint's meta: the epoch and id of the bank that its epoch was trained with
LOG_SECONDS = 30


@HOOKS.register_module()
class MapBankHook(Hook):
    """Fill the bank of a `Measured` strategy from the encoder as it is, on the whole images of the training set.

    Each rank measures a contiguous share of the images and writes it into one memory-mapped file,
    `epoch_<whole epochs trained>.npy`; a `.json` beside it is written last and says that the file is complete and from
    which weights. A checkpoint names the bank in use, and a resumed run opens that one again, so its masks are those of
    an uninterrupted run. Files that no checkpoint in the work dir would resume with are removed.

    Rows of images that cannot be read stay zero; they are never shown.

    Args:
        begin: training before the first filling: an int counts whole epochs, a float is a share of the training
            (0.1 = a tenth; the first epoch after it). AMT's paper says 40 of 400 epochs; its released code trains
            epochs 0 to 40, so 41, before the first map, and 81 before the second: our configs of AMT follow the code.
        interval: between fillings, counted likewise (AMT: 40 of 400 epochs, so 0.1).
        min_images: `begin` waits until so many images were shown, epochs x size of the training set: shares of a short
            training end before the encoder is worth asking, see docs/masking.md.
        measure_size: side, or (height, width), that whole images are shown to the encoder in, positions resampled;
            None: that of the training crops. Half the side costs less than a quarter. A map has fewer cells then.
        batch_size: images of a rank at once; None: as in training.
        num_workers: loader processes of a rank; None: as in training.
        amp: measure under bfloat16 autocast; False on a CPU that does not compute in bfloat16.
        folder: where the files lie, which all machines of the run must share, one folder for each run; None:
            `<work_dir>/map_bank`.

    Raises:
        UserError: a value out of its range, or, before training begins, a strategy that measures nothing, an encoder
            that it cannot measure, or a `measure_size` that does not fit.
    """

    priority = "HIGH"  # before RecordHook starts its clock: measuring is wall time, but no training throughput

    def __init__(self, begin: int | float = 40, interval: int | float = 40, batch_size: int | None = None,
                 num_workers: int | None = None, amp: bool = True, folder: str | None = None, min_images: int = 0,
                 measure_size: int | tuple[int, int] | None = None):
        self.schedule, self.amp = MapSchedule(begin, interval, min_images), amp
        self.batch_size, self.num_workers, self.folder = batch_size, num_workers, folder
        self.measure_size = measure_size
        self._due: list[int] = []
        self._within_epoch = False
        self._named: dict | None = None  # epoch and id of the bank in use, or of the one that the checkpoint used

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep which bank the resumed checkpoint was trained with."""
        named = (checkpoint.get("meta") or {}).get(META_KEY) if runner._resume else None
        if named is not None and not (isinstance(named, dict) and type(named.get("epoch")) is int
                                      and named["epoch"] >= 0 and isinstance(named.get("id"), str)):
            raise UserError(f"MapBankHook: the checkpoint names the map bank {repr(named)[:80]}, expected its epoch "
                            "and id; resume from another checkpoint")
        self._named = named
        self._within_epoch = bool((checkpoint.get("meta") or {}).get("images_of_epoch")) if runner._resume else False

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Name the bank in use."""
        if self._named is not None:
            checkpoint["meta"][META_KEY] = self._named

    @property
    def images(self):
        """Return the data set of whole images that are measured."""
        return self._images

    def before_train(self, runner) -> None:
        """Find mistakes now and not after `begin` epochs, by measuring a black image."""
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(self._model.strategy, Measured):
            raise UserError(f"MapBankHook: strategy {type(self._model.strategy).__name__} measures no maps; remove the "
                            "hook from custom_hooks, or choose a strategy that does, e.g. AMTMasking")
        self._images = _whole_images(runner.train_dataloader.dataset, self.measure_size)
        self._check_size(runner.train_dataloader.dataset.transform.size)
        self._folder = Path(self.folder or Path(runner.work_dir, "map_bank"))
        self._folder.mkdir(parents=True, exist_ok=True)
        black = torch.zeros(1, self._model.in_chans, *self._images.transform.size, dtype=torch.uint8)
        _, *grid = measure_maps(self._model, black, self.amp).shape
        self._grid = (grid[0], grid[1])
        self._due = self.schedule.epochs(runner.max_epochs, len(self._images))
        if not self._due:
            runner.logger.warning(f"MapBankHook: no map is ever measured, {self.schedule} is not before the end of "
                                  f"{runner.max_epochs} epochs of {len(self._images)} images")

    def before_train_epoch(self, runner) -> None:
        """Measure when it is time; in a resumed run, open the bank of the checkpoint."""
        if not self._due or runner.epoch < self._due[0]:
            return
        # The epoch of a checkpoint that was saved within one has its bank already.
        due = runner.epoch in self._due and not self._within_epoch
        self._within_epoch = False
        if due or (self._model.strategy.bank is None and not self._reopen(runner)):
            self._fill(runner)
        self._remove_unneeded(runner)

    def after_train(self, runner) -> None:
        """Remove what the last checkpoints do not need."""
        if self._named is not None:
            self._remove_unneeded(runner)

    def _check_size(self, training: tuple[int, int]) -> None:
        (height, width), (ph, pw) = self._images.transform.size, self._model.encoder.patch_size
        if height % ph or width % pw or height > training[0] or width > training[1]:
            raise UserError(f"MapBankHook: got measure_size={self.measure_size}; expected multiples of the patch, "
                            f"{ph} x {pw}, of at most the training's {training[0]} x {training[1]} pixels")
        if self.measure_size is not None and getattr(self._model.strategy, "legacy_crop", False):
            raise UserError("MapBankHook: got measure_size with a strategy of legacy_crop=True, which reads fixed "
                            "cells of a map of the training's size; expected only one of them")

    def _fill(self, runner) -> None:
        """Measure all images, unless a run that was killed since has done it with the same weights."""
        path, wanted = self._path(runner.epoch), self._id(runner)
        spent = self._seconds(path, wanted)
        if spent is not None:  # not in the checkpoint that this run goes on from
            runner.message_hub.update_scalar(MEASURING, spent)
            self._use(path, wanted, runner)
            return
        start = time.monotonic()
        if is_main_process():
            path.with_suffix(".json").unlink(missing_ok=True)
        bank = MapBank.create(path, len(self._images), self._grid)
        self._measure_share(bank, runner)
        bank.flush()
        barrier()
        seconds = time.monotonic() - start
        runner.message_hub.update_scalar(MEASURING, seconds)
        runner.logger.info(f"map bank after {runner.epoch} epochs: {bank.num_images} images in {seconds:.1f} s, "
                           f"{bank.num_images / seconds:.1f} images/s; {_so_far(runner)}")
        if is_main_process():
            about = dict(epoch=runner.epoch, id=wanted, num_images=bank.num_images, grid=bank.grid,
                         strategy=type(self._model.strategy).__name__, seconds=round(seconds, 3))
            write_atomically(path.with_suffix(".json"), json.dumps(about) + "\n")
        barrier()
        self._use(path, wanted, runner)

    def _reopen(self, runner) -> bool:
        """Open the bank that the checkpoint names, or say why not."""
        if self._named is None:
            reason = "the checkpoint names none"
        else:
            path = self._path(self._named["epoch"])
            if self._seconds(path, self._named["id"]) is not None:
                self._use(path, self._named["id"], runner)
                return True
            reason = f"{path} is missing or of other weights"
        runner.logger.warning(f"map bank: {reason}; maps are measured now, so this run is not the bit-exact "
                              "continuation of the one before")
        return False

    def _use(self, path: Path, identity: str, runner) -> None:
        bank = MapBank.open(path, len(self._images), self._grid)
        bank.check_finite()
        self._model.strategy.bank = bank
        self._named = {"epoch": int(path.stem.removeprefix("epoch_")), "id": identity}
        runner.logger.info(f"map bank in use from here on: {path}")

    def _seconds(self, path: Path, identity: str) -> float | None:
        """Return what a complete bank has taken, None where it is not complete; the first rank decides for all."""
        verdict: list[Any] = [None]
        if is_main_process():
            fields: dict[str, Any] = dict(num_images=int, grid=list, id=str, seconds=float)
            try:
                about = read_object(path.with_suffix(".json"), fields, "")
                bank = MapBank.open(path, len(self._images), self._grid)
            except (OSError, ValueError):  # not there, cut off, or of others: measured again
                about, bank = {}, None
            # The file itself, and what was noted when it was complete.
            complete = bank is not None and (about["id"], about["num_images"], tuple(about["grid"])) == (
                identity, len(self._images), self._grid)
            verdict = [about["seconds"] if complete else None]
        broadcast_object_list(verdict)
        return verdict[0]

    def _measure_share(self, bank: MapBank, runner) -> None:
        """Measure this rank's images."""
        rank, world_size = get_dist_info()
        share = shard(bank.num_images, rank, world_size)
        training = runner.train_dataloader
        workers = training.num_workers if self.num_workers is None else self.num_workers
        loader = DataLoader(
            self._images,
            batch_size=self.batch_size or training.batch_size,
            sampler=share,
            num_workers=workers,
            pin_memory=training.pin_memory,
            multiprocessing_context=training.multiprocessing_context if workers else None,
            generator=torch.Generator(),  # or workers would be seeded from the generator that training draws from
        )
        done, logged = 0, time.monotonic()
        for batch in loader:
            index = batch["record"].index
            asked = torch.tensor(share[done : done + len(index)])
            shown = index == asked  # what stands in for an unreadable image has its own place, perhaps at another rank
            maps = measure_maps(self._model, batch["inputs"], self.amp)
            bank.write(index[shown], maps.cpu()[shown])
            done += len(index)
            if time.monotonic() - logged > LOG_SECONDS:
                logged = time.monotonic()
                runner.logger.info(f"map bank after {runner.epoch} epochs: {done} of {len(share)} images of this rank")

    def _id(self, runner) -> str:
        """Return a digest of what decides the maps: weights, strategy, seed."""
        digest = hashlib.sha256()
        for name, weight in self._model.encoder.state_dict().items():
            digest.update(name.encode())
            digest.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
        digest.update(repr((runner.cfg.model.get("strategy"), runner.seed, self._images.transform.size)).encode())
        return digest.hexdigest()

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch_{epoch}.npy"

    @master_only
    def _remove_unneeded(self, runner) -> None:
        """Remove banks that no checkpoint would resume with; the one in use stays."""
        assert self._named is not None
        banks, saved = _numbers(self._folder, "epoch", "npy"), _numbers(Path(runner.work_dir), "epoch", "pth")
        length = len(runner.train_dataloader)
        saved += [iteration // length for iteration in _numbers(Path(runner.work_dir), "iter", "pth")]
        for epoch in set(banks) - needed(banks, saved) - {self._named["epoch"]}:
            self._path(epoch).with_suffix(".json").unlink(missing_ok=True)
            self._path(epoch).unlink()


@torch.inference_mode()
def measure_maps(method: MIMethod, images: Tensor, amp: bool) -> Tensor:
    """Return the maps [B, h, w] that the method's strategy measures on whole images [B, C, H, W] uint8.

    The encoder is in evaluation mode meanwhile; `amp` is bfloat16 autocast.
    """
    was_training = method.encoder.training
    method.encoder.eval()
    images = method.data_preprocessor({"inputs": images})["inputs"]
    with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
        maps = method.strategy.measure(view_block(method.encoder, images))
    method.encoder.train(was_training)
    return maps


def shard(num_images: int, rank: int, world_size: int) -> range:
    """Return the rank's contiguous share of the image numbers; shares differ by one image at most."""
    return range(num_images * rank // world_size, num_images * (rank + 1) // world_size)


def _numbers(folder: Path, kind: str, ending: str) -> list[int]:
    names = (re.fullmatch(rf"{kind}_(\d+)\.{ending}", path.name) for path in folder.iterdir())
    return [int(name[1]) for name in names if name]


def _so_far(runner) -> str:
    """Say what measuring has cost this run, with the processes that it continues."""
    record = next((hook for hook in runner.hooks if isinstance(hook, RecordHook)), None)
    spent = measuring(runner.message_hub, None if record is None else record.wall_s)["measuring"]
    share = "" if spent["share"] is None else f", {spent['share']:.1%} of the run's time"
    return f"measuring has taken {spent['seconds']:.1f} s so far{share}"


def _whole_images(dataset, size: int | tuple[int, int] | None):
    """Return the training set with the whole image shown, squashed to `size`; None: that of the training crops."""
    transform = ResizeWhole(size or dataset.transform.size, dataset.transform.filter.name.lower())
    images = dataset.shown_by(transform)
    images.augment = "host"  # a map is of the same pixels wherever crops are resized
    return images
