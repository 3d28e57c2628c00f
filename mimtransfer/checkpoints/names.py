"""Names of a ViT's tensors in other codebases, as tables that are read in both directions.

A row of a table pairs a module, or a tensor, there with timm's; `#` is the number of a block. The first row that fits
counts, in either direction. `blocks.#.attn.q`, `k` and `v` are timm's fused `qkv` in parts.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

State = dict[str, Tensor]


class Table(NamedTuple):
    """How one codebase names a ViT."""

    source: str  # name for reports
    marker: str  # a name that only this codebase has, behind any prefix
    block: str  # their name of a block
    rows: tuple[tuple[str, str], ...]  # theirs, timm's
    flat: tuple[str, ...] = ()  # their tensors without the leading axes of timm's

    def find(self, state: Mapping[str, Tensor]) -> str | None:
        """Return the prefix before the names of this table.

        None when the state has no such model, or several of which none is `backbone`: mmpretrain's BEiT v2 keeps its
        tokenizer, another ViT, beside the backbone.
        """
        prefixes = {
            name[: -len(self.marker)]
            for name in state
            if name == self.marker or name.endswith(f".{self.marker}")
        }
        if "backbone." in prefixes:
            return "backbone."
        return prefixes.pop() if len(prefixes) == 1 else None

    def read(self, state: Mapping[str, Tensor], prefix: str = "") -> tuple[State, list[str]]:
        """Rename to timm's.

        A tensor inside a block that no row knows keeps its name behind `blocks.#.`: as it is timm's, or for loading to
        refuse it.

        Returns:
            The encoder, and the names of what is not in it.
        """
        rows = [(_pattern(theirs), ours) for theirs, ours in (*self.rows, (self.block, "blocks.#"))]
        found, rest = {}, []
        for name, value in state.items():
            local = name[len(prefix):] if name.startswith(prefix) else None
            ours = None if local is None else _renamed(local, rows)
            if ours is None:
                rest.append(name)
            else:
                found[ours] = value[(None,) * (3 - value.ndim)] if local in self.flat else value
        return fuse_qkv(found), rest

    def write(self, encoder: Mapping[str, Tensor], prefix: str = "") -> tuple[State, list[str]]:
        """Rename from timm's.

        Returns:
            The tensors in their names, and timm's names of those that this codebase has no place for.
        """
        fused = not any(ours.endswith("attn.q") for _, ours in self.rows)
        rows = [(_pattern(ours), theirs) for theirs, ours in self.rows]
        found, unmapped = {}, []
        for name, value in (encoder if fused else split_qkv(encoder)).items():
            theirs = _renamed(name, rows)
            if theirs is None:
                unmapped.append(name)
            else:
                value = value.squeeze(0) if theirs in self.flat else value
                found[prefix + theirs] = value.squeeze(0) if name == "cls_token" and theirs in self.flat else value
        return found, unmapped


def _pattern(row: str) -> re.Pattern:
    return re.compile(re.escape(row).replace(r"\#", r"(\d+)") + r"(?=\.|$)")


def _renamed(name: str, rows: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, other in rows:
        if found := pattern.match(name):
            return other.replace("#", found[1] if pattern.groups else "#") + name[found.end():]
    return None


def fuse_qkv(state: State) -> State:
    """Join `attn.q`, `attn.k` and `attn.v` to timm's `attn.qkv`; a bias that keys lack (BEiT) is zero.

    Parts that make no whole stay as they are, for loading to refuse them.
    """
    fused: State = {}
    for name, value in state.items():
        if found := re.fullmatch(r"(.*\.attn\.)([qkv])\.(weight|bias)", name):
            before, part, kind = found.groups()
            parts = [state.get(f"{before}{one}.{kind}") for one in "qkv"]
            if kind == "bias" and parts[1] is None and parts[0] is not None:
                parts[1] = torch.zeros_like(parts[0])
            whole = [tensor for tensor in parts if tensor is not None and tensor.ndim]
            if len(whole) < 3 or len({tensor.shape[1:] for tensor in whole}) > 1:
                fused[name] = value
            elif part == "q":
                fused[f"{before}qkv.{kind}"] = torch.cat(whole)
        else:
            fused[name] = value
    return fused


def split_qkv(state: Mapping[str, Tensor]) -> State:
    """Take timm's `attn.qkv` apart."""
    parts: State = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            before, kind = name.split("qkv.")
            parts |= {f"{before}{one}.{kind}": part for one, part in zip("qkv", value.chunk(3))}
        else:
            parts[name] = value
    return parts


def _attention(block: str, attention: str, names: str, out: str) -> tuple[tuple[str, str], ...]:
    """Rows of the projections of an attention; `names` has their names for q, k and v."""
    rows = [(f"{block}.{attention}.{theirs}", f"blocks.#.attn.{ours}") for theirs, ours in zip(names.split(), "qkv")]
    return (*rows, (f"{block}.{out}", "blocks.#.attn.proj"))


def _inside(block: str, **names: str) -> tuple[tuple[str, str], ...]:
    """Rows of modules inside a block: timm's name, with _ for the point, = theirs."""
    return tuple((f"{block}.{theirs}", f"blocks.#.{ours.replace('_', '.')}") for ours, theirs in names.items())


_HF_STEM = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.register_tokens", "reg_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
)
_HF_ATTENTION = _attention("encoder.layer.#", "attention.attention", "query key value", "attention.output.dense")

_HF_TABLE = "relative_position_bias.relative_position_bias_table"
HF_VIT = Table(
    "Hugging Face ViT or BEiT",
    "encoder.layer.0.layernorm_before.weight",
    "encoder.layer.#",
    (
        *_HF_STEM,
        *_HF_ATTENTION,
        *_inside("encoder.layer.#", norm1="layernorm_before", norm2="layernorm_after", mlp_fc1="intermediate.dense",
                 mlp_fc2="output.dense", ls1_gamma="lambda_1", ls2_gamma="lambda_2"),
        (f"encoder.layer.#.attention.attention.{_HF_TABLE}", "blocks.#.attn.relative_position_bias_table"),
        (f"encoder.{_HF_TABLE}", "rel_pos_bias.relative_position_bias_table"),
        ("layernorm", "norm"),
        ("pooler.layernorm", "fc_norm"),
    ),
)
HF_DINOV2 = Table(
    "Hugging Face DINOv2",
    "encoder.layer.0.layer_scale1.lambda1",
    "encoder.layer.#",
    (
        *_HF_STEM,
        *_HF_ATTENTION,
        *_attention("encoder.layer.#", "attention", "q_proj k_proj v_proj", "attention.o_proj"),
        *_inside("encoder.layer.#", norm1="norm1", norm2="norm2", mlp_fc1="mlp.fc1", mlp_fc2="mlp.fc2",
                 ls1_gamma="layer_scale1.lambda1", ls2_gamma="layer_scale2.lambda1"),
        ("layernorm", "norm"),
    ),
)
HF_DINOV3 = Table(
    "Hugging Face DINOv3",
    "layer.0.attention.q_proj.weight",
    "layer.#",
    (
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.patch_embeddings", "patch_embed.proj"),
        *_attention("layer.#", "attention", "q_proj k_proj v_proj", "attention.o_proj"),
        *_inside("layer.#", norm1="norm1", norm2="norm2", mlp_fc1="mlp.up_proj", mlp_fc2="mlp.down_proj",
                 ls1_gamma="layer_scale1.lambda1", ls2_gamma="layer_scale2.lambda1"),
        ("layer.#.mlp.gate_proj", "blocks.#.mlp.fc1_g"),  # where there is one, `up_proj` is `fc1_x`: see `from_eva`
        ("norm", "norm"),
    ),
)
HF_CLIP = Table(
    "Hugging Face CLIP",
    "embeddings.class_embedding",
    "encoder.layers.#",
    (
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding.weight", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"),
        ("pre_layrnorm", "norm_pre"),
        *_attention("encoder.layers.#", "self_attn", "q_proj k_proj v_proj", "self_attn.out_proj"),
        *_inside("encoder.layers.#", norm1="layer_norm1", norm2="layer_norm2", mlp_fc1="mlp.fc1", mlp_fc2="mlp.fc2"),
        ("post_layernorm", "norm"),
    ),
    flat=("embeddings.class_embedding", "embeddings.position_embedding.weight"),
)
# So transformers 5 names its modules; its files keep the names of transformers 4.
HF_VIT5 = Table(
    "Hugging Face ViT or BEiT (modules of transformers 5)",
    "layers.0.layernorm_before.weight",
    "layers.#",
    (
        *_HF_STEM,
        ("shared_position_bias", "rel_pos_bias"),
        *_attention("layers.#", "attention", "q_proj k_proj v_proj", "attention.o_proj"),
        *_inside("layers.#", norm1="layernorm_before", norm2="layernorm_after", ls1_gamma="lambda_1",
                 ls2_gamma="lambda_2"),
        ("layers.#.relative_position_bias", "blocks.#.attn"),
        ("layernorm", "norm"),
        ("pooler.layernorm", "fc_norm"),
    ),
)
OPENAI_CLIP = Table(
    "OpenAI CLIP",
    "ln_pre.weight",
    "transformer.resblocks.#",
    (
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1", "patch_embed.proj"),
        ("ln_pre", "norm_pre"),
        ("ln_post", "norm"),
        ("transformer.resblocks.#.attn.in_proj_weight", "blocks.#.attn.qkv.weight"),
        ("transformer.resblocks.#.attn.in_proj_bias", "blocks.#.attn.qkv.bias"),
        *_inside("transformer.resblocks.#", attn_proj="attn.out_proj", norm1="ln_1", norm2="ln_2", mlp_fc1="mlp.c_fc",
                 mlp_fc2="mlp.c_proj", ls1_gamma="ls_1.gamma", ls2_gamma="ls_2.gamma"),
    ),
    flat=("class_embedding", "positional_embedding"),
)
SAM = Table(
    "SAM image encoder",
    "blocks.0.mlp.lin1.weight",
    "blocks.#",
    (
        ("pos_embed", "pos_embed"),
        ("patch_embed", "patch_embed"),
        *_inside("blocks.#", mlp_fc1="mlp.lin1", mlp_fc2="mlp.lin2"),
    ),
)
OPENMMLAB = Table(
    "mmpretrain, mmselfsup or mmseg",
    "layers.0.ffn.layers.0.0.weight",
    "layers.#",
    (
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.projection", "patch_embed.proj"),
        ("rel_pos_bias", "rel_pos_bias"),
        ("layers.#.attn.attn.in_proj_weight", "blocks.#.attn.qkv.weight"),
        ("layers.#.attn.attn.in_proj_bias", "blocks.#.attn.qkv.bias"),
        *_inside("layers.#", mlp_fc1="ffn.layers.0.0", mlp_fc2="ffn.layers.1", norm1="ln1", norm2="ln2",
                 attn_proj="attn.attn.out_proj", ls1_gamma="attn.gamma1.weight", ls2_gamma="ffn.gamma2.weight"),
        ("pre_norm", "norm_pre"),
        ("ln1", "norm"),
        ("norm1", "norm"),
        ("ln2", "fc_norm"),  # BEiT's, of the mean of the tokens
        ("norm2", "fc_norm"),
        ("fc_norm", "fc_norm"),  # of mmselfsup 0.x's fine-tuned MAE
    ),
)
_SAME = (
    "patch_embed.proj", "pos_embed", "cls_token", "norm", "blocks.#.norm1", "blocks.#.attn.qkv", "blocks.#.attn.proj",
    "blocks.#.attn.rel_pos_h", "blocks.#.attn.rel_pos_w", "blocks.#.norm2", "blocks.#.mlp.fc1", "blocks.#.mlp.fc2",
)
VITDET = Table(
    "detectron2 ViTDet",
    "net.patch_embed.proj.weight",
    "net.blocks.#",
    tuple((f"net.{name}", name) for name in _SAME),
)

TABLES = (HF_DINOV2, HF_DINOV3, HF_VIT, HF_VIT5, HF_CLIP, OPENAI_CLIP, SAM, OPENMMLAB, VITDET)
