"""Look into the blocks of an encoder: attention, keys and tokens of whole, unmasked images.

The encoder stays as it is, with fused attention in every block that is only passed through; the looked-at block's
attention is computed beside it, and no more of it than is asked for.

And how much of a block's attention a few tokens gather. Miao et al. (IEEE SPL 2024, doi 10.1109/LSP.2024.3458792) see
strong responses in the attention maps of shallow blocks when a pretrained MAE is fine-tuned, and call them artifacts.
They give no number for them; the three scores are ours.
"""
import itertools
import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import torch
from timm.layers import Attention, AttentionRope
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimtransfer.backbones.attention import BiasAttention, GridBlock
from mimtransfer.backbones.post_norm import PostNormBlock
from mimtransfer.backbones.rotary import project, turn
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.errors import UserError

_ATTENTIONS = (Attention, BiasAttention, EvaAttention, AttentionRope)


class BlockView:
    """One block on a batch of images; everything is computed when it is first read, so within the same inference mode
    and autocast. Under autocast only the linear layers are rounded: results are float32, the softmax too.

    Patches are in row-major order, after `num_prefix_tokens` prefix tokens of which the class token is the first.

    Args:
        place: what the block must know of where its tokens lie, from `TimmViT.places`.

    Attributes:
        grid: (h, w) in patches.
        num_prefix_tokens: P.
    """

    def __init__(self, block: nn.Module, inputs: Tensor, grid: tuple[int, int], num_prefix_tokens: int,
                 has_class_token: bool, place: dict[str, Any] | None = None):
        self._place = place or {}
        self.grid, self.num_prefix_tokens, self.has_class_token = grid, num_prefix_tokens, has_class_token
        self._block: Any = block
        self._inputs = inputs

    @property
    def num_heads(self) -> int:
        return self._block.attn.num_heads

    @cached_property
    def tokens(self) -> Tensor:
        """[B, P+L, D] float32: the block's output, before the encoder's final norm."""
        return self.output.float()

    @cached_property
    def output(self) -> Tensor:
        """[B, P+L, D] in the encoder's dtype: the block's output, what the next block gets."""
        return self._block(self._inputs, **self._place)

    @cached_property
    def keys(self) -> Tensor:
        """[B, L, D] float32: keys of the patches, heads side by side; not turned where positions are rotary."""
        return self._queries_and_keys[1][:, :, self.num_prefix_tokens :].transpose(1, 2).flatten(2).float()

    @cached_property
    def attention(self) -> Tensor:
        """[B, K, P+L, P+L] float32: softmax attention, a row for each query."""
        return self._attend(slice(None))

    @cached_property
    def class_attention(self) -> Tensor:
        """[B, K, L] float32: attention of the class token to the patches, the row of one query only.

        Raises:
            UserError: the encoder has no class token.
        """
        if not self.has_class_token:
            raise UserError("class attention: the encoder has no class token; choose an architecture with one, "
                            "or a masking strategy that does not measure attention")
        return self._attend(slice(0, 1))[:, :, 0, self.num_prefix_tokens :]

    def _attend(self, queries: slice) -> Tensor:
        q, k = self._queries_and_keys
        if isinstance(self._block, EvaBlock):
            q, k = (turn(self._block.attn, part, self._place.get("rope")) for part in (q, k))
        with torch.autocast(q.device.type, enabled=False):  # it would multiply in half precision again
            logits = q[:, :, queries].float() * self._block.attn.scale @ k.float().transpose(-2, -1)
        if isinstance(self._block.attn, BiasAttention):
            logits = logits + self._block.attn.bias(self.grid, self.num_prefix_tokens)[:, :, queries].float()
        return logits.softmax(dim=-1)

    @cached_property
    def _queries_and_keys(self) -> tuple[Tensor, Tensor]:
        attn = self._block.attn
        if isinstance(self._block, EvaBlock):
            q, k = project(attn, self._block.norm1(self._inputs), "qk")
            return q, k
        batch, num_tokens, _ = self._inputs.shape
        seen = self._inputs if type(self._block) is PostNormBlock else self._block.norm1(self._inputs)
        qkv = attn.qkv(seen).reshape(batch, num_tokens, 3, attn.num_heads, -1)
        q, k, _ = qkv.permute(2, 0, 3, 1, 4)  # [B, K, P+L, D/K] each
        return attn.q_norm(q), attn.k_norm(k)


def view_block(encoder: TimmViT, images: Tensor, block: int = -1) -> BlockView:
    """Run an encoder up to a block and look into that.

    Args:
        encoder: in evaluation mode, or drop path disturbs the picture.
        images: [B, C, H, W] float, normalised; a multiple of the patch.
        block: number of the block; negative ones count from the end.

    Raises:
        UserError: the encoder is no TimmViT, or one of its blocks attends inside windows or is not timm's plain one.
    """
    last = range(len(_blocks(encoder)))[block]
    return next(itertools.islice(view_blocks(encoder, images), last, None))


def view_blocks(encoder: TimmViT, images: Tensor) -> Iterator[BlockView]:
    """Look into each block in turn; a block runs when the next one is asked for. See `view_block`."""
    blocks = _blocks(encoder)
    grid = encoder.patch_grid(images)
    x = encoder.add_position(encoder.embed(images), grid)
    x = encoder.norm_pre(encoder.pos_drop(encoder.prepend_prefix(x)))
    for block, place in zip(blocks, encoder.places(grid)):
        found = BlockView(block, x, grid, encoder.num_prefix_tokens, encoder.cls_token is not None, place)
        yield found
        x = found.output


def _blocks(encoder: nn.Module) -> nn.ModuleList:
    if not isinstance(encoder, TimmViT):
        raise UserError(f"attention maps need a plain ViT, got {type(encoder).__name__}; expected encoder TimmViT")
    for block in encoder.blocks:
        if type(block) not in (Block, GridBlock, PostNormBlock, EvaBlock):  # parallel ones, windows
            raise UserError(f"attention maps need timm's plain Block, got {type(block).__name__}; "
                            "choose another arch, e.g. 'vit_base_patch16_224'")
        if getattr(block, "window_size", 0) or type(block.attn) not in _ATTENTIONS:
            raise UserError("attention maps of the whole image do not exist in blocks with windows or decomposed "
                            "positions; load the checkpoint into a TimmViT without window_size and rel_pos")
    return encoder.blocks


SCORES = {
    "top_share": "share of the received attention on the top 1 % of the tokens",
    "max_over_mean": "largest over mean received attention",
    "entropy": "entropy of the attention of the class token (without one, of the mean query), 1 = even",
}


def received_attention(block: BlockView) -> Tensor:
    """Return what share of the patches' attention to patches each patch receives, mean over heads: [B, L] float32,
    sum 1.
    """
    return _shares(_between_patches(block).mean((1, 2)))


def artifact_scores(block: BlockView) -> dict[str, Tensor]:
    """Score the attention of a block; see `SCORES`. Prefix tokens are left out as queries and as keys.

    Returns:
        top_share: [B] float32 in (0, 1]; 1 % of the tokens are rounded down, but one at least.
        max_over_mean: [B] float32 in [1, L].
        entropy: [B] float32 in [0, 1], over log L, mean over heads. Without a class token, of the patches' mean query.
    """
    received = received_attention(block)
    num_patches = received.shape[1]
    top = received.topk(max(1, num_patches // 100), dim=1).values.sum(1)
    query = block.class_attention if block.has_class_token else _between_patches(block).mean(2)  # [B, K, L]
    entropy = torch.special.entr(_shares(query)).sum(-1).mean(1) / math.log(num_patches)
    return {"top_share": top, "max_over_mean": received.amax(1) * num_patches, "entropy": entropy}


@torch.inference_mode()
def analyze(encoder: TimmViT, batches: Iterable[Tensor]) -> tuple[list[dict[str, float]], list[Tensor]]:
    """Score every block on whole images.

    Args:
        encoder: in evaluation mode.
        batches: normalised images, [B, C, H, W] float each, on the encoder's device.

    Returns:
        For each block the mean of each score over the images, and `received_attention` as [B, h, w] of the first batch.
    """
    total, maps, num_images = [], [], 0
    for images in batches:
        num_images += len(images)
        for number, block in enumerate(view_blocks(encoder, images)):
            scores = {name: value.sum().item() for name, value in artifact_scores(block).items()}
            if num_images == len(images):
                total.append(scores)
                maps.append(received_attention(block).view(-1, *block.grid).cpu())
            else:
                total[number] = {name: value + scores[name] for name, value in total[number].items()}
    return [{name: value / num_images for name, value in block.items()} for block in total], maps


def _between_patches(block: BlockView) -> Tensor:
    return block.attention[:, :, block.num_prefix_tokens :, block.num_prefix_tokens :]


def _shares(attention: Tensor) -> Tensor:
    return attention / attention.sum(-1, keepdim=True)
