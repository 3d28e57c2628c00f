"""What methods with latent targets share: two encoders, the student that is trained and the teacher, its exponential
moving average (EMA), whose outputs on the whole image are what the student predicts from a part of it.

`TeacherHook` (`pretrain/hooks/teacher.py`) moves the teacher after each optimizer step; the method knows no step. Both
encoders are in the checkpoint, so a resumed run goes on bit by bit, and `encoder` is the one that is transferred, here
as in every method: of I-JEPA the teacher, of data2vec 2.0 the student. The other one is `student_encoder` or
`teacher_encoder`, which `load_backbone` never takes, and the load report says which one it took.
"""
import copy
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.errors import UserError
from pretrain.aug_record import AugRecord, StoredRecord
from pretrain.layout import TokenLayout, take
from pretrain.methods.base import MIMethod
from pretrain.patches import patchify, unpatchify


class Latents(NamedTuple):
    """A layout and targets that were made together.

    Attributes:
        layout: roles of the patches.
        targets: [B, L, D] float32, of all patches.
    """

    layout: TokenLayout
    targets: Tensor


class LatentPrediction(MIMethod):
    """A method whose targets are outputs of an EMA teacher.

    A subclass initialises its weights and then calls `copy_student`. The teacher has no gradient and is always in
    evaluation mode. Its weights are float32 as the student's; autocast rounds what they compute, not them.

    Args:
        momentum: share of the teacher that a step keeps, at the start of training and when `momentum_end` is reached;
            linear between.
        momentum_end: share of the training after which the momentum stays, in (0, 1].
        maps_begin: share of the training after which a strategy with `source='teacher'` gets maps; before, its warm-up
            decides. AMT's first map comes after 40 of 400 epochs.
        **kwargs: of `MIMethod`.

    Attributes:
        transfers: which of the two is `encoder`, "student" or "teacher".
        hands_maps: `maps_begin` is over; the hook says so.

    Raises:
        UserError: an encoder that cannot work on a subset of the patches; momenta outside [0, 1] or a falling one.
    """

    transfers = "student"
    has_teacher = True
    hands_maps = True

    def __init__(self, encoder: dict, strategy: dict | None, momentum: tuple[float, float], momentum_end: float = 1.0,
                 maps_begin: float = 0.1, **kwargs):
        super().__init__(encoder, strategy, **kwargs)
        name = type(self).__name__
        if not isinstance(self.encoder, TimmViT):
            raise UserError(f"{name}: its student sees visible patches only, which {type(self.encoder).__name__} "
                            "cannot; choose TimmViT, or a method that hides no patch from the encoder (SimMIM, MFM)")
        if not (len(momentum) == 2 and 0 <= momentum[0] <= momentum[1] <= 1 and 0 < momentum_end <= 1):
            raise UserError(f"{name}: got momentum={tuple(momentum)}, momentum_end={momentum_end}; expected two shares "
                            "0 <= first <= last <= 1, and the share of the training when it is the last, in (0, 1]")
        if not 0 <= maps_begin <= 1:
            raise UserError(f"{name}: got maps_begin={maps_begin}; expected a share of the training, 0 to 1")
        self.maps_begin = maps_begin
        self.momentum, self.momentum_end = (momentum[0], momentum[1]), momentum_end
        other = "teacher" if self.transfers == "student" else "student"
        self.add_module(f"{other}_encoder", copy.deepcopy(self.encoder))
        self.teacher.requires_grad_(False)
        self.teacher.eval()

    @property
    def student(self) -> Any:
        """The encoder that is trained."""
        return self.encoder if self.transfers == "student" else self.student_encoder

    @property
    def teacher(self) -> Any:
        """The encoder that follows."""
        return self.encoder if self.transfers == "teacher" else self.teacher_encoder

    @torch.no_grad()
    def copy_student(self) -> None:
        """Let the teacher be the student, as at the start of training."""
        self.teacher.load_state_dict(self.student.state_dict())

    def init_weights(self) -> None:
        """Let the encoder load what its `init_cfg` names, as mmengine does before training; both start from it."""
        super().init_weights()
        self.copy_student()

    def momentum_at(self, progress: float) -> float:
        """Return the share of the teacher that is kept, at a share of the training in [0, 1]."""
        first, last = self.momentum
        return first + (last - first) * min(1.0, progress / self.momentum_end)

    @torch.no_grad()
    def update_teacher(self, progress: float) -> None:
        """Move the teacher towards the student; the host waits for nothing.

        Args:
            progress: share of the training that came before this step, in [0, 1].
        """
        average: Any = get_ema_multi_avg_fn(self.momentum_at(progress))
        average(list(self.teacher.parameters()), list(self.student.parameters()), None)

    def train(self, mode: bool = True) -> "LatentPrediction":
        """Set training mode; the teacher stays in evaluation mode (no dropout, no drop path)."""
        super().train(mode)
        self.teacher.eval()
        return self

    def draw_layout(self, images: Tensor, record: AugRecord | None, num_masks: int = 1) -> TokenLayout | Latents:
        """Let the strategy decide; see `MIMethod.draw_layout`. With `source='teacher'` it gets maps of these very
        images from the forward pass of the targets, which come with the layout in training.
        """
        if getattr(self.strategy, "source", "bank") != "teacher" or record is None or not self.hands_maps:
            return super().draw_layout(images, record, num_masks)
        self.check_image_size(images)
        with torch.no_grad():
            targets, block = self.look(images)
            maps = self.strategy.measure(block)
        # The maps lie on the images as they are: nothing is left to crop or to flip.
        whole = torch.zeros_like(record.box) + torch.arange(4, device=images.device).ge(2)
        seen: Any = StoredRecord(record.index, record.seed, whole, torch.zeros_like(record.flip), maps=maps, ids=None)
        layout = super().draw_layout(images, seen, num_masks)
        return Latents(layout, targets) if self.training else layout

    def layout_and_targets(self, images: Tensor, drawn: TokenLayout | Latents) -> tuple[TokenLayout, Tensor]:
        """Return the layout and the targets, which are made now if they did not come with it.

        Raises:
            UserError: the layout masks nothing.
        """
        layout, targets = drawn if isinstance(drawn, Latents) else (drawn, self.targets(images))
        if layout.masked.shape[1] == 0:
            raise UserError(f"{type(self).__name__}: nothing to predict, got mask_ratio={self.strategy.mask_ratio}; "
                            "expected at least one masked patch")
        return layout, targets

    def encode_visible(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return what the student makes of the visible patches, [rows, P+V, D]; a row for each mask, or for each image
        where the masks of an image share what is visible.
        """
        student, grid = self.student, self.student.patch_grid(images)
        tokens = student.add_position(student.embed(images), grid)  # [B, L, D]
        visible = layout.visible
        if self.strategy.shares_visible:
            visible = visible[:: len(visible) // len(images)]
        return student.encode(take(tokens, visible), grid, visible)

    @abstractmethod
    def targets(self, images: Tensor) -> Tensor:
        """Return what is predicted of each patch of whole images, [B, L, D] float32, without gradient."""

    @abstractmethod
    def look(self, images: Tensor) -> tuple[Tensor, BlockView]:
        """Return the targets of whole images, and the last block of the teacher as it saw them."""

    def reconstruct(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the pictures with masked and thrown patches at 0 (mean colour): no pixels are predicted."""
        rows = patchify(images, self.encoder.patch_size).clone()
        hidden = torch.cat([layout.masked, layout.thrown], dim=1)
        rows.scatter_(1, hidden.unsqueeze(-1).expand(-1, -1, rows.shape[-1]), 0.0)
        return unpatchify(rows, self.encoder.patch_size, self.encoder.patch_grid(images))


def spread_of(tokens: Tensor) -> Tensor:
    """Return the std of tokens [B, n, D] over images and patches, mean over D: 0 where all have become the same."""
    return tokens.flatten(0, 1).std(0).mean()
