"""data2vec 2.0: Baevski et al., "Efficient Self-supervised Learning with Contextualized Target Representations for
Vision, Speech and Language", ICML 2023, arXiv 2212.07525.

Same weights, images and masks give the losses of the released code for images (facebookresearch/fairseq,
examples/data2vec) to rounding, with a post-norm encoder (`TimmViT(post_norm=True)`) and without noise. The encoder that
is transferred is the student, which the released code fine-tunes, too.

Departures: `cls_weight` weighs a mean over masks, there a sum over the masks that a GPU holds (0.01 of 16 x 16 masks is
2.56 here); only masked patches pass the last linear layer of the decoder; the momentum of a step is that of the step
before there. A plain pre-norm ViT works as well. Blocks of visible patches are `BlockMasking(blocks='visible')`: where
they cover too much, the last one is cut along a line, there patches at random are masked again.
"""
import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import normal_init
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.backbones.post_norm import PostNormBlock, forward_block
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, for_each_mask, take
from pretrain.methods.teacher import LatentPrediction, Latents, spread_of

_BLOCKS = (Block, PostNormBlock, EvaBlock)


class ConvDecoder(nn.Module):
    """Predict tokens of masked patches by convolutions over the whole grid (sec. 3.2 of the paper).

    Args:
        encoder_dim: width of what comes in and of what is predicted.
        embed_dim: channels of the convolutions, a multiple of `groups`.
        depth: number of convolutions, each with layer norm and GELU; a sum with its input where that is as wide.
        kernel: side, odd.
        groups: of a convolution.
        noise_std: of the random tokens in the places of patches that are not visible.
    """

    def __init__(self, encoder_dim: int, embed_dim: int = 768, depth: int = 6, kernel: int = 3, groups: int = 16,
                 noise_std: float = 0.01):
        super().__init__()
        if kernel % 2 == 0 or encoder_dim % groups or embed_dim % groups:
            raise UserError(f"ConvDecoder: got kernel={kernel}, groups={groups}, embed_dim={embed_dim} behind an "
                            f"encoder of width {encoder_dim}; expected an odd kernel, and groups that divide both")
        self.noise_std = noise_std
        widths = [encoder_dim] + [embed_dim] * depth
        self.convs = nn.ModuleList(nn.Conv2d(wide, embed_dim, kernel, padding=kernel // 2, groups=groups)
                                   for wide in widths[:-1])
        self.norm = nn.LayerNorm(embed_dim, elementwise_affine=False)
        self.pred = nn.Linear(widths[-1], encoder_dim)

    def forward(self, tokens: Tensor, layout: TokenLayout, grid: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            tokens: [rows, V, D], the visible ones in the order of `layout.visible`.
            layout: roles; thrown patches are as unknown as masked ones.
            grid: (h, w) in patches.

        Returns:
            [rows, M, D], in the order of `layout.masked`.
        """
        whole = torch.randn(len(tokens), grid[0] * grid[1], tokens.shape[2], dtype=tokens.dtype, device=tokens.device)
        whole = (whole * self.noise_std).scatter(1, layout.visible[:, :, None].expand_as(tokens), tokens)
        x = whole.transpose(1, 2).unflatten(2, grid)  # [rows, D, h, w]
        for conv in self.convs:
            y = F.gelu(self.norm(conv(x).movedim(1, -1))).movedim(-1, 1)
            x = x + y if x.shape[1] == y.shape[1] else y
        return self.pred(take(x.flatten(2).transpose(1, 2), layout.masked))


@MODELS.register_module()
class Data2Vec2(LatentPrediction):
    """Predict the mean of what the last blocks of the teacher add to the tokens of the whole image.

    Args:
        encoder: see `MIMethod`; a `TimmViT` with a class token if `cls_weight` is not 0.
        strategy: see `MIMethod`; blocks of 3 x 3 patches stay visible, a fifth of all, when not given.
        decoder: arguments of `ConvDecoder`.
        top_blocks: how many of the last blocks make the target.
        cls_weight: weight of the loss of the class token, which predicts the mean of the target over the image.
        momentum, momentum_end: see `LatentPrediction`.
        **kwargs: of `MIMethod`; the authors take 16 `masks_per_image`.

    Raises:
        UserError: more blocks than the encoder has, blocks of another kind, or a loss of a class token that it lacks.
    """

    def __init__(self, encoder: dict, strategy: dict | None = None, decoder: dict | None = None, top_blocks: int = 10,
                 cls_weight: float = 0.0, momentum: tuple[float, float] = (0.9998, 0.99999), momentum_end: float = 1.0,
                 **kwargs):
        blocks = dict(type="BlockMasking", mask_ratio=0.8, blocks="visible", area=(9 / 196, 9 / 196), min_aspect=1.0,
                      num_blocks=5)
        super().__init__(encoder, strategy or blocks, momentum, momentum_end, **kwargs)
        depth = len(self.encoder.blocks)
        if not 1 <= top_blocks <= depth:
            raise UserError(f"Data2Vec2: got top_blocks={top_blocks}; expected 1 to {depth}, the blocks of the encoder")
        if cls_weight and self.encoder.cls_token is None:
            raise UserError(f"Data2Vec2: got cls_weight={cls_weight} and an encoder without a class token; set "
                            "cls_weight=0, or choose an architecture with one")
        other = next((block for block in self.encoder.blocks if type(block) not in _BLOCKS), None)
        if other is not None:
            raise UserError(f"Data2Vec2: got an encoder of {type(other).__name__}; expected timm's plain Block or "
                            "post_norm=True: take another arch, e.g. 'vit_base_patch16_224', without rel_pos")
        self.top_blocks, self.cls_weight = top_blocks, cls_weight
        self.decoder = ConvDecoder(self.encoder.embed_dim, **(decoder or {}))
        self.reset_parameters()
        self.copy_student()

    def loss(self, images: Tensor, drawn: TokenLayout | Latents) -> dict[str, Tensor]:
        """Return the squared error of masked patches plus that of the class token; each is a sum over the width,
        divided by its root, and a mean over all else.

        Args:
            images: [B, C, H, W] float, normalised.
            drawn: roles of the patches, B*K rows; with the targets where they were needed for the roles.
        """
        layout, targets = self.layout_and_targets(images, drawn)
        latent = for_each_mask(self.encode_visible(images, layout), len(layout.masked))
        num_prefix = self.encoder.num_prefix_tokens
        predicted = self.decoder(latent[:, num_prefix:], layout, self.encoder.patch_grid(images))
        patches = _error(predicted, take(targets, layout.masked))
        # Targets are normalised over the patches, so what could collapse is seen in the predictions.
        logged = {"predicted_std": spread_of(predicted.detach().float())}
        if not self.cls_weight:
            return {"loss": patches, **logged}
        whole = self.cls_weight * _error(latent[:, 0], for_each_mask(targets.mean(1), len(latent)))
        return {"loss": patches + whole, "patch_error": patches.detach(), "class_error": whole.detach(), **logged}

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """Return the target of each patch, [B, L, D] float32: what each of the last blocks' feed-forward networks adds,
        normalised for each image and channel over the patches; their mean, normalised over the width.
        """
        return self._targets(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, BlockView]:
        """Return the targets, and the last block; see `LatentPrediction.look`."""
        targets, inputs, place = self._targets(images)
        teacher, grid = self.teacher, self.teacher.patch_grid(images)
        has_class_token = teacher.cls_token is not None
        return targets, BlockView(teacher.blocks[-1], inputs, grid, teacher.num_prefix_tokens, has_class_token,
                                  place)

    def _targets(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Return the targets, what goes into the last block, [B, P+L, D], and its place."""
        teacher, grid = self.teacher, self.teacher.patch_grid(images)
        x = teacher.prepend_prefix(teacher.add_position(teacher.embed(images), grid))
        x = teacher.norm_pre(teacher.pos_drop(x))
        total: Any = 0
        first = len(teacher.blocks) - self.top_blocks
        place: dict[str, Any] = {}
        for number, (block, place) in enumerate(zip(teacher.blocks, teacher.places(grid))):
            inputs = x
            x, added = forward_block(block, x, **place)
            if number >= first:
                added = added[:, teacher.num_prefix_tokens :].float().transpose(1, 2)  # [B, D, L]
                total = total + F.instance_norm(added)
        mean = (total / self.top_blocks).transpose(1, 2)
        return F.layer_norm(mean, mean.shape[-1:]), inputs, place

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as the released code: linear layers normal with 0.02, the patch projection as one Xavier-uniform
        linear layer, the class token normal with 1; the decoder as PyTorch does.
        """
        encoder = self.encoder
        for module in encoder.modules():
            if isinstance(module, nn.Linear):
                normal_init(module, std=0.02)
        nn.init.xavier_uniform_(encoder.patch_embed.proj.weight.flatten(1))
        if encoder.cls_token is not None:
            nn.init.normal_(encoder.cls_token)


def _error(predicted: Tensor, target: Tensor) -> Tensor:
    # The released sum over the width, over its root; in fp32 under autocast, too.
    return (predicted.float() - target).square().mean() * math.sqrt(target.shape[-1])
