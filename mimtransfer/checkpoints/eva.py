"""Names of ViTs of timm's class Eva (EVA-02, DINOv3, RoPE-ViT ...), which are not those of its plain ViT.

Files are read in the terms of the plain ViT: fused `attn.qkv`, layer scale as `ls1.gamma`; for an Eva, `to_eva` brings
them to its own. SwiGLU (`w1`, `w2`, `w3` of the authors) is `fc1_g`, `fc1_x` and `fc2`, or `fc1` (packed) and `fc2`.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mimtransfer.checkpoints.names import State, fuse_qkv

# Fixed angles and masks, which a backbone makes itself. Learned angles of RoPE-ViT are `rope.freqs`.
FIXED = re.compile(r"(^|\.)rope(_embed|_embeddings)?\.(?!freqs$)|\.bias_mask$")
_NAMES = {"storage_tokens": "reg_token", "attn.inner_attn_ln": "attn.norm", "mlp.ffn_ln": "mlp.norm",
          "mlp.w12": "mlp.fc1", "mlp.w1": "mlp.fc1_g", "mlp.w2": "mlp.fc1_x", "mlp.w3": "mlp.fc2",
          "attn.q_proj": "attn.q", "attn.k_proj": "attn.k", "attn.v_proj": "attn.v",
          "attn.q_bias": "attn.q.bias", "attn.v_bias": "attn.v.bias"}
_THEIRS = re.compile("|".join(rf"(?:^|(?<=\.)){re.escape(name)}(?=\.|$)" for name in _NAMES))


def from_eva(encoder: Mapping[str, Tensor]) -> State:
    """Bring names of the authors of EVA-02 and DINOv3, of timm's Eva and of Hugging Face's DINOv3 to those of a plain
    ViT; SwiGLU keeps timm's. A bias of keys that the authors mask is zero.
    """
    found: State = {}
    for name, value in encoder.items():
        if FIXED.search(name):
            continue
        if f"{name}_mask" in encoder and value.ndim and len(value) % 3 == 0:
            q, k, v = value.chunk(3)
            value = torch.cat([q, torch.zeros_like(k), v])
        found[_THEIRS.sub(lambda match: _NAMES[match[0]], name)] = value
    # Hugging Face's `up_proj` is the only layer before the activation, or the one beside the gate.
    gated = {name.removesuffix("_g.weight") for name in found if name.endswith("mlp.fc1_g.weight")}
    for layer in gated:
        for kind in ("weight", "bias"):
            if f"{layer}.{kind}" in found:
                found[f"{layer}_x.{kind}"] = found.pop(f"{layer}.{kind}")
    return fuse_qkv(found)


def is_swiglu(state: Mapping[str, Tensor]) -> bool:
    """Say whether the blocks have a gate, packed or not."""
    inner, outer = (state.get(f"blocks.0.mlp.{layer}.weight") for layer in ("fc1", "fc2"))
    if inner is not None and outer is not None and inner.ndim == outer.ndim == 2:
        packed = inner.shape[0] == 2 * outer.shape[1]
    else:
        packed = False
    return packed or "blocks.0.mlp.fc1_g.weight" in state


def to_eva(encoder: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> State:
    """Bring what `from_eva` returned to the names of timm's Eva.

    A bias of zeros acts on nothing and is left out where the backbone has none (DINOv3's distilled models, and keys).
    Any other stays, for loading to refuse it: a bias of keys acts where they are turned.

    Args:
        wanted: names and shapes of the backbone.
    """
    found: State = {}
    for name, value in encoder.items():
        before, fused, kind = name.partition("qkv.")
        if f"{before}q_proj.weight" in wanted:
            names = {"weight": "{}_proj.weight", "bias": "{}_proj.bias"}
        else:
            names = {"bias": "{}_bias"}
        if not fused or name in wanted or not value.ndim or kind not in names:
            found[re.sub(r"\bls([12])\.gamma$", r"gamma_\1", name)] = value
        else:
            parts = _parts(value, before, names[kind], wanted)
            found |= {part: tensor for part, tensor in parts.items() if part in wanted or tensor.any()}
    return found


def _parts(value: Tensor, before: str, names: str, wanted: Mapping[str, Tensor]) -> State:
    """Take a fused tensor apart; keys and values may be of fewer heads than queries."""
    width = len(value) // 3
    key = wanted.get(f"{before}k_proj.weight")
    if key is not None and len(key) < len(wanted[f"{before}q_proj.weight"]):
        width = min(width, len(key))
    sizes = [len(value) - 2 * width, width, width]
    return {before + names.format(part): tensor for part, tensor in zip("qkv", value.split(sizes))}
