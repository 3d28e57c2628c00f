"""MAE: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377.

Same weights, image and mask give the loss of the official code (facebookresearch/mae) to rounding. Departures, none of
which changes the loss: the decoder keeps the drawing order and predicts masked patches only (see
`decoder.py`); patches can be thrown, which MAE does not do: they are in no sequence and no loss (AMT, arXiv
2211.15362, sec. 3).
"""
import math

import torch
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, take
from pretrain.methods.base import MIMethod
from pretrain.methods.decoder import PixelDecoder
from pretrain.patches import patch_statistics, patchify, unpatchify


@MODELS.register_module()
class MAE(MIMethod):
    """Encode visible patches, decode masked ones, compare pixels.

    Args:
        encoder: see `MIMethod`.
        strategy: see `MIMethod`; random masking of 3 of 4 patches when not given.
        decoder: arguments of `PixelDecoder`: `embed_dim`, `depth`, `num_heads`.
        norm_pix_loss: normalise each target patch by its own mean and std (sec. 4.1). Official code: off by
            default, on in its recipes.
        **kwargs: of `MIMethod`.

    Raises:
        UserError: an encoder that cannot work on a subset of the patches.
    """

    def __init__(
        self,
        encoder: dict,
        strategy: dict | None = None,
        decoder: dict | None = None,
        norm_pix_loss: bool = True,
        **kwargs,
    ):
        super().__init__(encoder, {"type": "RandomMasking"} if strategy is None else strategy, **kwargs)
        if getattr(self.encoder, "needs_every_patch", False):
            raise UserError(f"MAE: its encoder sees visible patches only, which {type(self.encoder).__name__} cannot; "
                            "choose TimmViT, or a method that hides no patch from the encoder (SimMIM, MFM)")
        ph, pw = self.encoder.patch_size
        self.decoder = PixelDecoder(
            encoder_dim=self.encoder.embed_dim,
            num_prefix_tokens=self.encoder.num_prefix_tokens,
            grid=self.encoder.grid_size,
            num_values=ph * pw * self.in_chans,
            **(decoder or {}),
        )
        self.norm_pix_loss = norm_pix_loss
        self.reset_parameters()

    def loss(self, images: Tensor, layout: TokenLayout) -> dict[str, Tensor]:
        """Return the mean squared error over the pixels of masked patches.

        Args:
            images: [B, C, H, W] float, normalised.
            layout: roles of the patches.
        """
        if layout.masked.shape[1] == 0:
            raise UserError(
                f"MAE: nothing to predict, got mask_ratio={self.strategy.mask_ratio}; expected at least one masked "
                "patch"
            )
        # Equal counts, so the mean over all values is the mean over masked patches. In fp32 under autocast, too.
        return {"loss": (self.predict(images, layout).float() - self.target(images, layout)).square().mean()}

    def target(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the (normalised) pixels of the masked patches, [B*K, M, p*p*C]."""
        rows = patchify(images, self.encoder.patch_size)  # [B, L, p*p*C]
        if not self.norm_pix_loss:
            return take(rows, layout.masked)
        if len(layout.masked) == len(rows):
            return _normalise(take(rows, layout.masked))
        return take(_normalise(rows), layout.masked)  # each patch once, though several masks hide it

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the predicted (normalised) pixels of the masked patches, [B*K, M, p*p*C]."""
        grid = self.encoder.patch_grid(images)
        tokens = self.encoder.add_position(self.encoder.embed(images), grid)  # [B, L, D]
        latent = self.encoder.encode(take(tokens, layout.visible), grid, layout.visible)  # [B*K, P+V, D]
        return self.decoder(latent, layout, grid)

    def reconstruct(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the pictures with masked patches predicted and un-normalised by their own statistics, thrown ones at
        0 (mean colour).
        """
        rows = patchify(images, self.encoder.patch_size).clone()
        pred = self.predict(images, layout).to(rows.dtype)
        if self.norm_pix_loss:
            mean, std = patch_statistics(take(rows, layout.masked))
            pred = pred * std + mean
        rows.scatter_(1, layout.masked.unsqueeze(-1).expand_as(pred), pred)
        rows.scatter_(1, layout.thrown.unsqueeze(-1).expand(-1, -1, rows.shape[-1]), 0.0)
        return unpatchify(rows, self.encoder.patch_size, self.encoder.patch_grid(images))

    def reset_parameters(self) -> None:
        """Initialise as the official code: Xavier-uniform linear layers, the patch projection seen as one, tokens
        normal with 0.02.
        """
        self.apply(_init_linear)
        projection = self.encoder.patch_embed.proj
        # Xavier of the [D, C*p*p] matrix; on the 4-d kernel, PyTorch would count the fan differently.
        bound = math.sqrt(6 / (projection.weight[0].numel() + projection.weight.shape[0]))
        nn.init.uniform_(projection.weight, -bound, bound)
        nn.init.normal_(self.decoder.mask_token, std=0.02)
        for token in (getattr(self.encoder, "cls_token", None), getattr(self.encoder, "reg_token", None)):
            if token is not None:
                nn.init.normal_(token, std=0.02)


def _normalise(rows: Tensor) -> Tensor:
    mean, std = patch_statistics(rows)
    return (rows - mean) / std


@torch.no_grad()
def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()
