"""A plain ViT written out in float64 numpy, from the weights of a TimmViT: every attention matrix, key and token."""
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import erf

from mimtransfer.backbones.vit import TimmViT


class ReferenceBlock(NamedTuple):
    attention: np.ndarray  # [B, K, N, N]
    keys: np.ndarray  # [B, N, D]
    tokens: np.ndarray  # [B, N, D], the output


def tiny_vit(seed=0, **kwargs):
    """A ViT of 3 heads and 2 blocks with weights far from their initial ones, so that attention is not uniform."""
    torch.manual_seed(seed)
    model_kwargs = dict(depth=2, embed_dim=48, num_heads=3) | kwargs.pop("model_kwargs", {})
    options = dict(arch="vit_tiny_patch16_224", img_size=(24, 40), patch_size=8) | kwargs
    vit = TimmViT(model_kwargs=model_kwargs, **options).eval()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    return vit


def reference_blocks(vit: TimmViT, images: torch.Tensor) -> list[ReferenceBlock]:
    weights = {name: tensor.detach().double().numpy() for name, tensor in vit.state_dict().items()}
    x = embedded(weights, images.double().numpy())
    blocks = []
    for number, block in enumerate(vit.blocks):
        own = {name.removeprefix(f"blocks.{number}."): tensor for name, tensor in weights.items()
               if name.startswith(f"blocks.{number}.")}
        blocks.append(run(own, x, block.attn.num_heads))
        x = blocks[-1].tokens
    return blocks


def embedded(weights, images):
    kernel = weights["patch_embed.proj.weight"]  # [D, C, p, p]
    p = kernel.shape[2]
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // p, p, width // p, p)
    tokens = np.einsum("bchpwq,dcpq->bhwd", patches, kernel).reshape(batch, -1, len(kernel))
    tokens = tokens + weights["patch_embed.proj.bias"]
    position = weights["pos_embed"]
    num_positions = position.shape[1] - tokens.shape[1]
    tokens = tokens + position[:, num_positions:]
    prefix = np.concatenate([weights[name] for name in ("cls_token", "reg_token") if name in weights], axis=1)
    if num_positions:
        prefix = prefix + position[:, :num_positions]
    return np.concatenate([np.repeat(prefix, batch, axis=0), tokens], axis=1)


def run(own, x, num_heads):
    batch, num_tokens, width = x.shape
    side = width // num_heads
    qkv = linear(own, "attn.qkv", norm(own, "norm1", x))
    attention = np.zeros((batch, num_heads, num_tokens, num_tokens))
    keys, mixed = np.zeros_like(x), np.zeros_like(x)
    for head in range(num_heads):
        columns = slice(head * side, (head + 1) * side)
        q, k, v = (part[:, :, columns] for part in np.split(qkv, 3, axis=2))
        if "attn.q_norm.weight" in own:
            q, k = norm(own, "attn.q_norm", q), norm(own, "attn.k_norm", k)
        keys[:, :, columns] = k
        weight = np.exp(np.einsum("bid,bjd->bij", q, k) / np.sqrt(side))
        attention[:, head] = weight / weight.sum(2, keepdims=True)
        mixed[:, :, columns] = np.einsum("bij,bjd->bid", attention[:, head], v)
    x = x + linear(own, "attn.proj", mixed) * own.get("ls1.gamma", 1)
    hidden = linear(own, "mlp.fc1", norm(own, "norm2", x))
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    return ReferenceBlock(attention, keys, x + linear(own, "mlp.fc2", hidden) * own.get("ls2.gamma", 1))


def linear(own, name, x):
    return x @ own[f"{name}.weight"].T + own[f"{name}.bias"]


def norm(own, name, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * own[f"{name}.weight"] + own[f"{name}.bias"]
