"""BEiT: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, arXiv 2106.08254.

With the tokenizer VQ-KD it is BEiT v2 (Peng et al., 2022, arXiv 2208.06366) without its patch aggregation.

Same weights, image and mask give the loss of the official code (microsoft/unilm, beit2) to rounding, with absolute
positions or with a relative position bias. Departures: positions are learned and absolute in our configs, there a
relative position bias that all blocks share; with `rel_pos='bias', pos_embed='none'` in the encoder each block learns
one of its own. Keys have a bias, which does not change attention; patches may be thrown.
"""
import torch
from torch import Tensor, nn

from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, hide, take
from pretrain.methods.base import init_plain_vit
from pretrain.methods.token_prediction import TokenPrediction


@MODELS.register_module()
class BEiT(TokenPrediction):
    """Put mask tokens into the encoder's input, predict the codes of the patches under them.

    Args:
        encoder: see `TokenPrediction`.
        tokenizer: see `TokenPrediction`.
        strategy: see `MIMethod`; when not given, rectangles over 75 of 196 patches (sec. 2.3).
        **kwargs: of `TokenPrediction`.
    """

    def __init__(self, encoder: dict, tokenizer: dict, strategy: dict | None = None, **kwargs):
        super().__init__(encoder, tokenizer, strategy or dict(type="BlockMasking"), **kwargs)

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return logits of the codes of masked patches, [B*K, M, num_codes]."""
        visible, masked, thrown = layout
        encoder, grid = self.encoder, self.encoder.patch_grid(images)
        tokens = hide(encoder.embed(images), layout, self.mask_token)  # [B*K, L, D]
        tokens = encoder.add_position(tokens, grid)
        if not thrown.shape[1]:
            return self.head(take(encoder.encode(tokens, grid)[:, encoder.num_prefix_tokens :], masked))
        kept = torch.cat([masked, visible], dim=1)
        latent = encoder.encode(take(tokens, kept), grid, kept)[:, encoder.num_prefix_tokens :]
        return self.head(latent[:, : masked.shape[1]])

    def reset_parameters(self) -> None:
        """Initialise as the official code: all truncated normal, std 0.02, cut at one std; biases at 0."""
        init_plain_vit(self.encoder)
        for parameter in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(self.head.bias)
