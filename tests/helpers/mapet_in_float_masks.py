"""A training step of MaPeT in the steps of the released code: what ours is compared with, in values and in time.

The loader makes two masks of numbers (0 and -1e30) for each head of each image; in each block both streams attend one
after the other, with scores and masks written out; the last block computes both; tokens are in raster order.

    ARCH=small python tools/benchmark.py CONFIG --reference tests/helpers/mapet_in_float_masks.py
"""
import os
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


def float_masks(order: Tensor, num_visible: int, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return masks of both streams for one image, and which places are predicted.

    Args:
        order: [L] int64, patches, visible ones first.

    Returns:
        [K, M, N+M] for queries and [K, N+M, N+M] for content, N = 1 + L, both 0 or -1e30; [N] bool.
    """
    places = torch.cat([order.new_zeros(1), order + 1])
    rank = torch.empty_like(places).scatter_(0, places, torch.arange(len(places)))
    predicted = rank > num_visible
    before = rank[None, :] < rank[:, None]  # [N, N]: the key comes before the row
    before[:, ~predicted] = True
    content = before | torch.eye(len(places), dtype=torch.bool)
    query = torch.cat([before, ~before[:, predicted]], dim=1)[predicted]
    content = torch.cat([content, ~content[:, predicted]], dim=1)
    auxiliary = torch.ones(int(predicted.sum()), content.shape[1], dtype=torch.bool)
    auxiliary[:, : len(places)][:, predicted] = False
    content = torch.cat([content, auxiliary])
    query, content = (torch.where(mask, 0.0, -1e30).expand(num_heads, -1, -1) for mask in (query, content))
    return query, content, predicted


def attend(attn: nn.Module, rows: Tensor, content: Tensor, mask: Tensor) -> Tensor:
    """Attend from rows to content with the scores written out."""
    batch, width = len(rows), attn.attn_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = F.linear(rows, weight[:width], bias[:width]).view(batch, -1, attn.num_heads, attn.head_dim).transpose(1, 2)
    kv = F.linear(content, weight[width:], bias[width:]).view(batch, -1, 2, attn.num_heads, attn.head_dim)
    k, v = kv.permute(2, 0, 3, 1, 4)
    scores = ((q @ k.transpose(-2, -1)) * attn.scale + mask).softmax(-1)
    return attn.proj((scores @ v).transpose(1, 2).reshape(batch, -1, width))


def run_block(block: Block, h: Tensor, g: Tensor, masks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Run content stream h and query stream g through one block; no drop path."""
    content, query = block.norm1(h), block.norm1(g)
    g = g + block.ls1(attend(block.attn, query, content, masks[0]))
    h = h + block.ls1(attend(block.attn, content, content, masks[1]))
    return h + block.ls2(block.mlp(block.norm2(h))), g + block.ls2(block.mlp(block.norm2(g)))


def predict(vit: VisionTransformer, mask_token: Tensor, head: nn.Module, images: Tensor, masks: tuple) -> Tensor:
    """Return logits of the predicted places in raster order, [B, M, num_codes]. masks: of `float_masks`, stacked."""
    query, content, predicted = masks
    x = vit.patch_embed(images)
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1) + vit.pos_embed
    g = mask_token + vit.pos_embed.expand(len(x), -1, -1)[predicted].view(len(x), -1, x.shape[2])
    h = torch.cat([x, g], dim=1)
    for block in vit.blocks:
        h, g = run_block(block, h, g, (query, content))
    vit.norm(h)
    return head(vit.norm(g))


def build(batch_size: int, image_size: int, device: str) -> Callable[[], object]:
    """Return a step for tools/benchmark.py: a ViT of the size that ARCH names (else base), 8192 codes, AdamW."""
    arch = f"vit_{os.environ.get('ARCH', 'base')}_patch16_224"
    vit = timm.create_model(arch, num_classes=0, img_size=image_size, init_values=0.1).to(device)
    head = nn.Linear(vit.embed_dim, 8192, device=device)
    mask_token = nn.Parameter(torch.zeros(1, 1, vit.embed_dim, device=device))
    optimizer = torch.optim.AdamW([*vit.parameters(), *head.parameters(), mask_token], lr=1e-4)
    images = torch.randn(batch_size, 3, image_size, image_size, device=device)
    num_patches, num_heads = vit.patch_embed.num_patches, vit.blocks[0].attn.num_heads
    num_visible = num_patches // 4
    ids = torch.randint(8192, (batch_size, num_patches - num_visible), device=device)

    def step() -> None:
        orders = [torch.randperm(num_patches) for _ in range(batch_size)]
        drawn = [float_masks(order, num_visible, num_heads) for order in orders]  # the loader makes and collates them
        masks = tuple(torch.stack(parts).to(device) for parts in zip(*drawn))
        logits = predict(vit, mask_token, head, images, masks)
        F.cross_entropy(logits.transpose(1, 2), ids).backward()
        nn.utils.clip_grad_norm_(vit.parameters(), 3.0)
        optimizer.step()
        optimizer.zero_grad()

    return step
