"""What methods share that predict the code of each hidden patch: BEiT (Bao et al., ICLR 2022, arXiv 2106.08254) and
MaPeT (Baraldi et al., CVIU 2025, arXiv 2306.07346).

A tokenizer names each patch of the image by one of `num_codes` integers; the method predicts the number of masked
patches from a linear layer, trained by cross-entropy.
"""
from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.channels import RGB
from mimtransfer.draws import mix
from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, take
from pretrain.methods.base import MIMethod
from pretrain.patches import patchify, unpatchify
from pretrain.tokenizers.base import TokenizerOwner


class Targets(NamedTuple):
    """What is drawn for a batch of images.

    Attributes:
        layout: roles of the patches, B*K rows.
        ids: [B, L] int64, codes of all patches, row-major.
    """

    layout: TokenLayout
    ids: Tensor


class TokenPrediction(TokenizerOwner, MIMethod):
    """Predict the codes of masked patches.

    The mask token belongs to the method, so the encoder is the plain ViT that is exported.

    Args:
        encoder: see `MIMethod`; a `TimmViT`.
        tokenizer: config of a tokenizer. Its weights are frozen and in no checkpoint.
        strategy: see `MIMethod`.
        num_codes: size of the head; None takes the tokenizer's. Given, it must be the tokenizer's.
        **kwargs: of `MIMethod`; `data_preprocessor` must normalise, for tokenizers see images in [0, 1].

    Raises:
        UserError: another encoder; a preprocessor that does not normalise; `num_codes` is not the tokenizer's; from the
            first step, a grid that is not the tokenizer's, or no patch or every patch predicted.
    """

    def __init__(self, encoder: dict, tokenizer: dict, strategy: dict, num_codes: int | None = None, **kwargs):
        super().__init__(encoder=encoder, strategy=strategy, **kwargs)
        name = type(self).__name__
        if not isinstance(self.encoder, TimmViT):
            raise UserError(f"{name}: got encoder {type(self.encoder).__name__}, expected TimmViT: mask tokens take "
                            "the place of its patch tokens")
        if not hasattr(self.data_preprocessor, "mean"):
            raise UserError(f"{name}: got a data_preprocessor without mean and std; expected "
                            "dict(type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], "
                            "std=[58.395, 57.12, 57.375]): tokenizers see images in [0, 1]")
        if self.in_chans != RGB:
            raise UserError(f"{name}: got in_chans={self.in_chans}, but the codes that it predicts are of RGB images; "
                            "expected in_chans=3, or a method that predicts pixels: MAE, SimMIM, MFM")
        self.own(TOKENIZERS.build(tokenizer))
        if num_codes not in (None, self.tokenizer.num_codes):
            raise UserError(f"{name}: got num_codes={num_codes} for the head, but {type(self.tokenizer).__name__} has "
                            f"a codebook of {self.tokenizer.num_codes}; expected the same, or num_codes=None")
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.encoder.embed_dim))
        self.head = nn.Linear(self.encoder.embed_dim, self.tokenizer.num_codes)
        self.reset_parameters()

    def stored_ids(self, record: AugRecord) -> Tensor | None:
        """Return the ids that the tokenizer has stored; see `MIMethod.stored_ids`."""
        return self.tokenizer.look_up(record)

    def draw_layout(self, images: Tensor, record: AugRecord | None, num_masks: int = 1) -> Targets:
        """Let the strategy decide who is predicted, and the tokenizer what, once for all masks of an image."""
        layout = super().draw_layout(images, record, num_masks)
        num_visible, num_predicted, _ = (part.shape[1] for part in layout)
        if not num_visible or not num_predicted:
            raise UserError(
                f"{type(self).__name__}: got {num_predicted} predicted and {num_visible} visible patches with "
                f"mask_ratio={self.strategy.mask_ratio}; expected at least one of each"
            )
        mean, std = self.data_preprocessor.mean / 255, self.data_preprocessor.std / 255  # [3, 1, 1] each
        pixels = torch.addcmul(mean, images.float(), std).clamp_(0, 1)  # rounding may leave the range
        ids, grid = self.tokenizer(pixels, record), self.encoder.patch_grid(images)
        if ids.shape[1:] != grid:
            h, w = ids.shape[1:]
            raise UserError(
                f"{type(self).__name__}: got {h} x {w} codes from {type(self.tokenizer).__name__} for a grid of "
                f"{grid[0]} x {grid[1]} patches of the encoder; expected the same grid: change the encoder's "
                "patch_size, or take another tokenizer"
            )
        return Targets(layout, ids.flatten(1))

    def loss(self, images: Tensor, drawn: Targets) -> dict[str, Tensor]:
        """Return the cross-entropy of the codes of masked patches, and the share that is predicted rightly.

        Args:
            images: [B, 3, H, W] float, normalised.
            drawn: roles and codes of the patches.
        """
        logits = self.predict(images, drawn.layout).float()  # [B*K, M, num_codes]
        ids = take(drawn.ids.unsqueeze(2), drawn.layout.masked).squeeze(2)
        return {
            "loss": F.cross_entropy(logits.flatten(0, 1), ids.flatten()),
            "accuracy": (logits.argmax(2) == ids).float().mean(),
        }

    @abstractmethod
    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return logits of the codes of masked patches, [B*K, M, num_codes], in the layout's order."""

    def reconstruct(self, images: Tensor, drawn: Targets) -> Tensor:
        """Return the pictures with masked patches painted as the likeliest codes, thrown ones at 0 (mean colour)."""
        layout, ids = drawn
        predicted = self.predict(images, layout).argmax(2)
        painted = self.show_codes(ids.scatter(1, layout.masked, predicted), images)
        painted = (painted - self.data_preprocessor.mean / 255) / (self.data_preprocessor.std / 255)
        rows, painted = (patchify(pixels, self.encoder.patch_size) for pixels in (images, painted.to(images.dtype)))
        rows = torch.where(layout.mask()[:, :, None], painted, rows)
        rows.scatter_(1, layout.thrown.unsqueeze(-1).expand(-1, -1, rows.shape[-1]), 0.0)
        return unpatchify(rows, self.encoder.patch_size, self.encoder.patch_grid(images))

    def show_codes(self, ids: Tensor, images: Tensor) -> Tensor:
        """Return pictures of codes, the tokenizer's or one fixed colour for each code: [B, L] int64 -> [B, 3, H, W] in
        [0, 1], as large as the images.
        """
        ids = ids.unflatten(1, self.encoder.patch_grid(images))
        pictures = self.tokenizer.decode(ids)
        if pictures is None:
            colours = torch.stack([mix(ids * 3 + channel) & 0xFF for channel in range(3)], dim=1)
            pictures = colours.float() / 255  # [B, 3, h, w]
        return F.interpolate(pictures, size=images.shape[-2:])

    @abstractmethod
    def reset_parameters(self) -> None:
        """Initialise encoder, mask token and head."""
