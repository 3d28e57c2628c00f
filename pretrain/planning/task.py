"""A pretraining method with a batch of made-up images."""
from __future__ import annotations

import os
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.planning.fake import Fake
from mimtransfer.planning.step import Task
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured
from pretrain.tokenizers.base import Tokenizer

_FILE_KEYS = ("codebook", "path", "checkpoint")
_STORED = "StoredTokens"


class MadeUpTokens(Tokenizer):
    """Ids without a tokenizer, for plans: [B, h, w] zeros.

    Args:
        num_codes: of the tokenizer whose place it takes.
        grid: (h, w) of the patches.
    """

    def __init__(self, num_codes: int, grid: tuple[int, int]) -> None:
        super().__init__(num_codes, {})
        self.grid = grid

    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        return torch.zeros(len(images), *self.grid, dtype=torch.int64)


def pretraining_task(cfg: Config) -> Task:
    """Return the task of a pretraining config.

    Raises:
        UserError: the size of its images is not said.
    """
    size = _image_size(cfg)
    notes = _replace_tokenizer(cfg, size)

    def data(fake: Fake, model: nn.Module, images: int) -> dict[str, Any]:
        number = torch.zeros(images, dtype=torch.int64)
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(images, 1)
        strategy: Any = model.strategy
        if isinstance(strategy, Measured) and strategy.bank is None:
            encoder: Any = model.encoder
            grid = encoder.grid_size
            strategy.bank = MapBank(torch.rand(1, *grid).half())
        inputs = fake.empty(images, 3, *size, dtype=torch.uint8)
        return dict(inputs=inputs, record=AugRecord(number, torch.arange(images), box, number.bool()))

    return Task(lambda: MODELS.build(cfg.model), data, size, notes=tuple(notes))


def _image_size(cfg: Config) -> tuple[int, int]:
    transform = (cfg.train_dataloader.get("dataset") or {}).get("transform") or {}
    size = transform.get("size")
    if size is None:
        raise UserError("config: train_dataloader.dataset.transform has no size, which a plan needs; add it")
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _replace_tokenizer(cfg: Config, size: tuple[int, int]) -> list[str]:
    """Plan without the file of a tokenizer where it is not there, and say so."""
    tokenizer = cfg.model.get("tokenizer")
    if tokenizer is None:
        return []
    path = next((tokenizer[key] for key in _FILE_KEYS if tokenizer.get(key)), "")
    if tokenizer.type != _STORED and os.path.isfile(path):
        return []
    side = cfg.model.encoder.get("patch_size") or 16
    grid = [length // side for length in size]
    cfg.model.tokenizer = dict(type=MadeUpTokens, num_codes=cfg.model.get("num_codes") or 8192, grid=grid)
    if tokenizer.type == _STORED:
        return []
    return [f"{path} is not there, so the work of the tokenizer ({tokenizer.type}) is not counted"]
