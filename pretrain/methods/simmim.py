"""SimMIM: Xie et al., "SimMIM: a Simple Framework for Masked Image Modeling", CVPR 2022, arXiv 2111.09886.

Same weights, image and mask give the loss of the official code (microsoft/SimMIM) to rounding, for a ViT with absolute
positions or with a relative position bias, and for Swin. With thrown patches it is SimMIM under AMT (Gui et al., AAAI
2023, arXiv 2211.15362, sec. 3): they are dropped after positions are added, and are in no loss.

Departures from official SimMIM: its ViT is pretrained without absolute positions, with a relative position bias that
all blocks share; ours has learned absolute ones in our configs, as AMT's SimMIM has. With `rel_pos='bias',
pos_embed='none'` in the encoder it has the official positions, but each block learns a bias of its own. It masks
ceil(L r) cells where our strategies take floor(L r); the ratios in our configs make L r whole, at its count. Our head
is a linear layer on masked tokens with pixels in the order (p, p, C), there a 1x1 convolution on all tokens and a pixel
shuffle with the order (C, p, p): the same map. Our mean is exact, its divisor has 1e-5 more.

Departures from AMT's SimMIM: any number of patches may survive, there it must be a square number; and the loss compares
predictions with the pixels of the same patches, there with those of the whole image, which fails once patches are
thrown.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.layout import TokenLayout, hide, take
from pretrain.methods.base import MIMethod, init_plain_vit
from pretrain.patches import patchify, unpatchify


@MODELS.register_module()
class SimMIM(MIMethod):
    """Put mask tokens into the encoder's input, predict the pixels under them with one linear layer.

    Args:
        encoder: see `MIMethod`; a plain ViT, or Swin, which needs every patch and has no attention to be measured.
        strategy: see `MIMethod`; when not given, 60 % of the cells of 32 pixels (sec. 3.2), for patches of 16 or 32.
        **kwargs: of `MIMethod`.

    Raises:
        UserError: from the first step, when nothing is masked, or when patches are thrown that the encoder needs.
    """

    def __init__(self, encoder: dict, strategy: dict | None = None, **kwargs):
        super().__init__(encoder, strategy, **kwargs)
        if not hasattr(self.encoder, "embed"):
            raise UserError(
                f"SimMIM: {type(self.encoder).__name__} has no patch tokens to replace; expected encoder TimmViT or "
                "TimmSwin, or a method that encodes whole images, e.g. MFM"
            )
        ph, pw = self.encoder.patch_size
        if strategy is None:
            self.strategy = MASKINGS.build(dict(type="RandomMasking", mask_ratio=0.6, unit=1 if ph >= 32 else 2))
        # As wide as the tokens it replaces: Swin's are those of its stem.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.encoder.patch_embed.proj.out_channels))
        self.head = nn.Linear(self.encoder.embed_dim, ph * pw * self.in_chans)
        self.reset_parameters()

    def loss(self, images: Tensor, layout: TokenLayout) -> dict[str, Tensor]:
        """Return the mean absolute error over the pixels of masked patches.

        Args:
            images: [B, C, H, W] float, normalised.
            layout: roles of the patches.
        """
        if layout.masked.shape[1] == 0:
            raise UserError(
                f"SimMIM: nothing to predict, got mask_ratio={self.strategy.mask_ratio} and "
                f"unit={self.strategy.unit}; expected at least one masked cell"
            )
        target = take(patchify(images, self.encoder.patch_size), layout.masked)  # [B*K, M, p*p*C]
        # Equal counts, so the mean over all values is the mean over masked patches. In fp32 under autocast, too.
        return {"loss": F.l1_loss(self.predict(images, layout).float(), target)}

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the predicted pixels of the masked patches, [B*K, M, p*p*C]."""
        visible, masked, thrown = layout
        if thrown.shape[1] and getattr(self.encoder, "needs_every_patch", False):
            raise UserError(
                f"SimMIM: {type(self.encoder).__name__} needs every patch, got {thrown.shape[1]} thrown ones; "
                "expected throw_ratio=0, or encoder TimmViT"
            )
        encoder, grid = self.encoder, self.encoder.patch_grid(images)
        tokens = encoder.embed(images)  # [B, L, D]; of Swin [B, L, n, D], n tokens of the stem for each patch
        tokens = encoder.add_position(hide(tokens, layout, self.mask_token), grid)  # [B*K, L, D]
        if thrown.shape[1]:
            kept = torch.cat([masked, visible], dim=1)
            latent = encoder.encode(take(tokens, kept), grid, kept)[:, encoder.num_prefix_tokens :]
            latent = latent[:, : masked.shape[1]]
        else:
            latent = take(encoder.encode(tokens, grid)[:, encoder.num_prefix_tokens :], masked)
        return self.head(latent)

    def reconstruct(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the pictures with masked patches predicted, thrown ones at 0 (mean colour)."""
        rows = patchify(images, self.encoder.patch_size).clone()
        pred = self.predict(images, layout).to(rows.dtype)
        rows.scatter_(1, layout.masked.unsqueeze(-1).expand_as(pred), pred)
        rows.scatter_(1, layout.thrown.unsqueeze(-1).expand(-1, -1, rows.shape[-1]), 0.0)
        return unpatchify(rows, self.encoder.patch_size, self.encoder.patch_grid(images))

    def reset_parameters(self) -> None:
        """Initialise as the official code: a ViT and its mask token truncated normal, std 0.02, cut at one std; Swin as
        timm does, its mask token not cut off; the head as PyTorch does.
        """
        is_plain = hasattr(self.encoder, "blocks")
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02 if is_plain else -2, b=0.02 if is_plain else 2)
        if is_plain:
            init_plain_vit(self.encoder)
