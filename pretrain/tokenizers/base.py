"""What every tokenizer shares: frozen, without gradient, in float32, and known by its identity."""
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.errors import UserError, near_files
from mimtransfer.training.precision import full_fp32
from pretrain.aug_record import AugRecord


class Tokenizer(nn.Module, ABC):
    """Name each patch of an image by one of `num_codes` integers.

    It is frozen and stays in evaluation mode. A method holds it through `TokenizerOwner`, so that its weights are in
    no checkpoint, optimizer or DDP bucket of the pretraining.

    Args:
        num_codes: ids are below it.
        identity: what decides the ids, as plain values for JSON: `type`, `num_codes`, `sha256` of the file (None
            without one), `source`. Results and checkpoints carry it, and a run is resumed with the same one only.
    """

    def __init__(self, num_codes: int, identity: dict[str, Any]):
        super().__init__()
        self.num_codes = num_codes
        self.identity = {"type": type(self).__name__, "num_codes": num_codes, **identity}

    def forward(self, images: Tensor, record: AugRecord | None = None) -> Tensor:
        """Return the ids of a batch, [B, h, w] int64 in [0, num_codes); in full float32, also under
        autocast and where TF32 is allowed.

        Args:
            images: [B, 3, H, W] float32 in [0, 1], RGB.
            record: where the crops came from; a tokenizer that computes ids from the pixels needs none.
        """
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False), full_fp32():
            return self.encode(images.float(), record)

    @abstractmethod
    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        """Compute what `forward` returns; called without gradient, outside of autocast, in full float32."""

    def look_up(self, record: AugRecord) -> Tensor | None:
        """Return the ids that are stored for a batch, [B, h, w] int64 on the CPU as the record; None: they are
        computed.
        """
        return None

    def decode(self, ids: Tensor) -> Tensor | None:
        """Return pictures [B, 3, H, W] float32 in [0, 1] of ids [B, h, w] int64; None: codes have no pictures."""
        return None

    def train(self, mode: bool = True) -> "Tokenizer":
        """Stay in evaluation mode."""
        return super().train(False)


class TokenizerOwner(nn.Module):
    """Hold a tokenizer beside the module's own parameters: it moves with the module and is no part of its state."""

    tokenizer: Tokenizer

    def own(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer and freeze it."""
        # Not by setattr, which would register it as a submodule.
        self.__dict__["tokenizer"] = tokenizer.eval().requires_grad_(False)

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        self.tokenizer._apply(fn)
        return super()._apply(fn, recurse)


def check_file(path: str | os.PathLike, owner: str, how: str) -> str:
    """Return the path of a tokenizer's file.

    Args:
        owner: class that asks, for the message.
        how: where the file comes from, e.g. "run tools/fit_tokenizer.py", "download X from Y and put it there".

    Raises:
        UserError: there is no such file.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f"{owner}: got the file {path!r}, which does not exist{near_files(path)}; {how}")
    return path


def load_all(module: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Load a state dict that must be the module's, nothing missing and nothing left over.

    Args:
        path: where it is from, for the message.

    Raises:
        UserError: it is not, or holds NaN.
    """
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"{os.fspath(path)!r} holds NaN or infinity in {len(broken)} tensors, first {broken[0]!r}; "
                        "copy or download it again")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).partition(": ")[2]  # torch's heading names our class
        name = type(module).__name__.strip("_")
        raise UserError(f"{os.fspath(path)!r} does not fit {name}: {reason[:300]}") from error


def resize(images: Tensor, side: int) -> Tensor:
    """Return images [B, 3, H, W] in [0, 1] as squares of `side` pixels, antialiased bicubic."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
