"""The options `--data --quick --image-size --num-classes --batch --epochs` of a tool, applied to its config.

They come before `--cfg-options`, which have the last word. The config that results is written into the work dir, whole,
when nothing more refuses the run: it can be kept, edited and run without these options.
"""
from __future__ import annotations

import argparse
import copy
import os
import os.path as osp
from dataclasses import dataclass, field

from mmengine.config import Config

from mimtransfer.checkpoints.safe_load import read_checkpoint, state_dict_of
from mimtransfer.checks.annotations import read_coco
from mimtransfer.checks.left_out import LeftOut, left_out
from mimtransfer.cli.launch import checkpoint_at
from mimtransfer.cli.trained import RECIPE, own_config
from mimtransfer.datasets.configured import is_pretraining, leaves
from mimtransfer.errors import UserError
from mimtransfer.own_data.configure import set_data, set_images, task_of
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.converted import OwnData, name_of_run
from mimtransfer.own_data.heads import set_num_classes
from mimtransfer.own_data.image_size import image_size_of, set_image_size
from mimtransfer.own_data.kept_config import check_place, check_same, write_config
from mimtransfer.own_data.length import keep_epochs, set_batch, set_epochs
from mimtransfer.own_data.quick import set_quick
from mimtransfer.own_data.tiny import WIDTH
from mimtransfer.planning.schedule import images_of_epoch
from mimtransfer.results.description import protocol_of


@dataclass
class OwnOptions:
    """What the command line says, and what came of it."""

    config: str
    work_dir: str
    data: str | None
    quick: bool
    image_size: int | None
    num_classes: int | None
    batch: int | None
    epochs: int | None
    pretrained: str | None
    processes: int
    goes_on: bool  # from a checkpoint of the work dir
    lines: list[str] = field(default_factory=list)  # for the user
    _recipe: Config | None = None
    _text: str | None = None  # of the config

    @classmethod
    def of(cls, args: argparse.Namespace, cfg: Config, processes: int) -> OwnOptions:
        """Read the arguments of a tool.

        Args:
            cfg: as shipped; its name and the data's make the default work dir.
        """
        quick, data = args.quick, args.data
        name = name_of_run(args.config, data, quick)
        work_dir = args.work_dir or cfg.get("work_dir") or osp.join("work_dirs", name)
        if getattr(args, "overfit", None) is not None and args.work_dir is None:
            work_dir += f"_overfit{args.overfit}"  # beside the work dir of the real run
        return cls(args.config, work_dir, data, quick, args.image_size, getattr(args, "num_classes", None), args.batch,
                   args.epochs, getattr(args, "pretrained", None), processes, _goes_on(args.resume, work_dir))

    @property
    def given(self) -> bool:
        """Say whether there is any of them."""
        values = (self.data, self.quick or None, self.image_size, self.num_classes, self.batch, self.epochs)
        return any(value is not None for value in values)

    def apply(self, cfg: Config) -> None:
        """Change a config that was just read."""
        if not self.given:
            return
        shipped, self.lines = copy.deepcopy(cfg), []
        if not self.goes_on:
            check_place(self._path, self.data)
        data = self._set_data(cfg)
        images = None if data is None else max(1, self._count(cfg, data))
        if self.quick:
            task = "pretraining" if is_pretraining(cfg) else task_of(cfg)
            set_quick(cfg, task, self.work_dir, self._keeps_backbone(), self.image_size is not None,
                      self.processes)
        elif images is not None and self.epochs is None:
            self.lines += filter(None, [keep_epochs(cfg, shipped, images)])
        if self.image_size is not None:
            set_image_size(cfg, self.image_size)
        self._recipe = copy.deepcopy(cfg)
        if self.batch is not None:
            set_batch(cfg, self.batch)
        if self.epochs is not None:
            if images is None and cfg.get("train_cfg") and cfg.train_cfg.get("max_iters") is not None:
                images = (images_of_epoch(cfg) or (None,))[0]
            set_epochs(cfg, shipped, self.epochs, images, self.processes)
            self._recipe.train_cfg = copy.deepcopy(cfg.train_cfg)
        self._name(cfg)
        cfg[RECIPE] = shipped.get(RECIPE) or protocol_of(shipped)

    def recipe(self, shipped: Config) -> Config | None:
        """Return what lr, batch and length of the run are held against: the config with these options, but its own
        batch. None with `--quick`, whose lr and length are its own, whatever the batch.
        """
        if self.quick:
            return None
        return shipped if self._recipe is None else self._recipe

    def _name(self, cfg: Config) -> None:
        """Let the protocol say what is no longer that of its name."""
        changes = ["quick look"] if self.quick else []
        changes += [f"{image_size_of(cfg)} pixels"] if self.quick or self.image_size is not None else []
        changes += [f"{self.epochs} epochs"] if self.epochs is not None else []
        cfg.protocol = ", ".join([protocol_of(cfg), *changes])

    def _set_data(self, cfg: Config) -> OwnData | None:
        data = None
        if self.data is not None and is_pretraining(cfg):
            self.lines.append(set_images(cfg, self.data))
        elif self.data is not None:
            data = convert(self.data, osp.join(self.work_dir, "data"), task_of(cfg))
            self.lines += [*data.summary(), *set_data(cfg, data)]
        if self.num_classes is not None:
            if data is not None and self.num_classes != len(data.classes):
                raise UserError(f"--num-classes {self.num_classes}, but the data have {len(data.classes)} classes; "
                                "leave it out")
            set_num_classes(cfg, self.num_classes)
        return data

    def _count(self, cfg: Config, data: OwnData) -> int:
        """Return the images that are trained on, and say which are not."""
        found = _filtered(cfg, data)
        self.lines += [f"  note: {found.in_words()}"] if found.in_words() else []
        return found.kept

    def _keeps_backbone(self) -> bool:
        """Say whether a checkpoint is to be loaded that is of no ViT-Ti."""
        if self.pretrained is None:
            return False
        path = checkpoint_at(self.pretrained) or self.pretrained
        shapes = [value.shape for name, value in state_dict_of(read_checkpoint(path), path).items()
                  if name.endswith("patch_embed.proj.weight")]
        return not any(shape[0] == WIDTH for shape in shapes)

    @property
    def _path(self) -> str:
        return own_config(self.work_dir, self.config)

    def report(self, cfg: Config) -> None:
        """Say in a few lines what comes of the options, and note the config that the run will have, before the tool
        adds what every run gets.
        """
        if self.given:
            self._text = cfg.pretty_text
            if _is_first():
                print("\n".join(self.lines), flush=True)

    def check(self) -> None:
        """Refuse a work dir that holds a run of another config. Called behind the checks that name the very mistake.

        Raises:
            UserError: it does.
        """
        if self._text is not None and not self.goes_on:
            check_same(self._path, self._text)

    def write(self) -> None:
        """Write the noted config, once nothing more refuses the run; one process of a run does."""
        if self._text is not None and _is_first():
            write_config(self._path, self._text)
            print(f"Config: {self._path} (whole; edit it, keep it, run it as it is)", flush=True)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _goes_on(resume: str | None, work_dir: str) -> bool:
    """Say whether --resume names a checkpoint of the work dir, or the newest there."""
    if resume is None or resume == "auto":
        return resume is not None
    return osp.realpath(work_dir) in (osp.realpath(resume), osp.dirname(osp.realpath(resume)))


def _filtered(cfg: Config, data: OwnData) -> LeftOut:
    """Count the training images that mmdet leaves out, where the config says so."""
    train = data.splits["train"]
    filters = next(leaves(cfg.train_dataloader.dataset)).get("filter_cfg") if cfg.get("train_dataloader") else None
    coco = read_coco(data.path("train"), "data")[0] if filters and data.kind == "detection" else None
    if coco is None or not filters:
        return LeftOut(train.num_images, 0, 0, 0)
    return left_out(coco["images"], {entry["image_id"] for entry in coco["annotations"]}, filters)
