"""MaPeT: Baraldi et al., "Learning to Mask and Permute Visual Tokens for Vision Transformer Pre-Training", CVIU 2025,
arXiv 2306.07346.

Masked patches are predicted one after the other in the order of the layout, each from the visible patches, the content
of those before it and the positions of the others; see `two_stream.py`. All of them at once, as the true
content of earlier patches is known in training.

Same weights, image and order give the logits and the loss of the official code (aimagelab/MaPeT) to rounding.
Departures: any strategy may give the order and the counts, which there are random and 49 visible patches; patches may
be thrown (in neither stream, no loss). One boolean mask is made on the device, there two masks of numbers for each head
of each image in the loader. The last block computes the query stream only, for nothing reads its content stream.
"""
import torch
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, take
from pretrain.methods.token_prediction import TokenPrediction
from pretrain.methods.two_stream import encode_two_streams, has_plain_blocks, two_stream_mask


@MODELS.register_module()
class MaPeT(TokenPrediction):
    """Predict the codes of masked patches in the order of the layout.

    Args:
        encoder: see `TokenPrediction`.
        tokenizer: see `TokenPrediction`.
        strategy: see `MIMethod`; when not given, 3 of 4 patches in random order.
        auxiliary: let each patch see the positions of those that come later. False: permuted prediction as in XLNet,
            the baseline of sec. 4.
        **kwargs: of `TokenPrediction`.

    Raises:
        UserError: also an encoder with other than timm's plain blocks.
    """

    def __init__(
        self, encoder: dict, tokenizer: dict, strategy: dict | None = None, auxiliary: bool = True, **kwargs
    ):
        super().__init__(encoder, tokenizer, strategy or dict(type="RandomMasking", mask_ratio=0.75), **kwargs)
        if not has_plain_blocks(self.encoder):
            raise UserError(f"MaPeT: the blocks of arch={self.encoder.arch!r} are not timm's plain ones, which two "
                            "streams need: take e.g. 'vit_base_patch16_224', without windows or relative positions")
        self.auxiliary = auxiliary

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return logits of the codes of masked patches, [B*K, M, num_codes], each without a look at itself or at later
        ones.
        """
        visible, masked, _ = layout
        encoder, grid = self.encoder, self.encoder.patch_grid(images)
        tokens = encoder.add_position(encoder.embed(images), grid)  # [B, L, D]
        tokens = take(tokens, torch.cat([visible, masked], dim=1))
        positions = encoder.add_position(self.mask_token.expand(1, grid[0] * grid[1], -1), grid)  # [1, L, D]
        queries = take(positions, masked)
        if self.auxiliary:
            tokens = torch.cat([tokens, queries], dim=1)
        num_context = encoder.num_prefix_tokens + visible.shape[1]
        mask = two_stream_mask(num_context, masked.shape[1], self.auxiliary, images.device)
        # Content, auxiliary tokens if there are any, queries.
        patches = torch.cat([visible, *[masked] * (3 if self.auxiliary else 2)], dim=1)
        return self.head(encode_two_streams(encoder, tokens, queries, mask, grid=grid, patches=patches))

    def reset_parameters(self) -> None:
        """Initialise as the official code: mask token and head normal with 0.02; the encoder stays as timm does it."""
        for parameter in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.bias)
