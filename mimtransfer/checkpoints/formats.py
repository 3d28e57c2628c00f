"""From the names in a checkpoint to timm's.

A format is a function `(state) -> Format | None`: it recognises its files by their keys and says which tensors belong
to the encoder, and how timm calls them. Codebases that only call the same tensors otherwise are a table in `names`; for
another kind of file write such a function and add it to `KNOWN_FORMATS`.
"""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mimtransfer.checkpoints.eva import FIXED, from_eva, is_swiglu
from mimtransfer.checkpoints.names import TABLES, State
from mimtransfer.errors import UserError
from mimtransfer.stored import parse_json

# Under these keys training scripts keep the weights, in this order of preference; DINO's teacher is what is evaluated.
_CONTAINERS = ("state_dict", "model", "module", "model_state_dict", "teacher")
# DistributedDataParallel and torch.compile add these at the front; a compiled submodule has its own in the middle.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")
# Hugging Face's BEiT of pretraining and mmpretrain's BEiT v2 keep the final norm beside the encoder.
_NORMS_BESIDE = ("layernorm", "neck.norm")


class Format(NamedTuple):
    """What a format makes of a checkpoint."""

    source: str  # name for reports
    encoder: State  # timm's names
    rest: list[str]  # names in the file of what is no part of the encoder


def read_format(checkpoint: Mapping[str, Any]) -> Format:
    """Find the encoder in a checkpoint.

    Args:
        checkpoint: what `read_checkpoint` returned: a state dict, or one among other things.

    Returns:
        The encoder's tensors in timm's names, none when the file holds none.
    """
    state = weights(checkpoint)
    for recognise in KNOWN_FORMATS:
        found = recognise(state)
        if found is not None:
            return found._replace(encoder=_in_timm_terms(found.encoder))
    return Format("unknown", {}, list(state))


def weights(checkpoint: Mapping[str, Any]) -> State:
    """Take the state dict out of a checkpoint, without the prefixes of DDP and torch.compile."""
    for key in _CONTAINERS:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) or k in _CONTAINERS for k, v in inner.items()):
            return weights(inner)
    return {_WRAPPERS.sub("", str(name)): value for name, value in checkpoint.items() if isinstance(value, Tensor)}


def pretraining_of(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return where one of our checkpoints came from, `meta['mimtransfer']`.

    Raises:
        UserError: it holds other than plain values, which no record takes, or a grid that is none.
    """
    meta = checkpoint.get("meta")
    found = meta.get("mimtransfer") if isinstance(meta, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    try:
        plain = parse_json(json.dumps(found))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"meta['mimtransfer'] of the checkpoint holds other than plain values ({str(error)[:80]}); "
                        "save the plain state_dict, and load that") from error
    grid = plain.get("grid")
    if grid and not (isinstance(grid, list) and len(grid) == 2
                     and all(type(side) is int and 0 < side <= 1 << 16 for side in grid)):
        raise UserError(f"meta['mimtransfer'] of the checkpoint says the grid {repr(grid)[:80]}, expected two numbers "
                        "of patches; save the plain state_dict, and load that")
    return plain


def _part(state: State, prefix: str, source: str) -> Format | None:
    encoder = {name[len(prefix):]: value for name, value in state.items() if name.startswith(prefix)}
    return Format(source, encoder, [name for name in state if not name.startswith(prefix)]) if encoder else None


def mimtransfer_method(state: State) -> Format | None:
    """Our pretraining methods keep the encoder as `encoder`, in timm's names.

    Those with two encoders keep the one that is transferred so: of I-JEPA the EMA teacher, of data2vec 2.0 the student.
    """
    others = {"student_encoder": ", the EMA teacher", "teacher_encoder": ", the student of an EMA teacher"}
    which = next((said for other, said in others.items() if any(name.startswith(f"{other}.") for name in state)), "")
    return _part(state, "encoder.", f"mimtransfer pretraining (encoder.*{which})")


def openmmlab_model(state: State) -> Format | None:
    """Detectors and segmentors keep the backbone as `backbone`; ours is in timm's names."""
    return _part(state, "backbone.", "OpenMMLab model (backbone.*)")


def official_mae(state: State) -> Format | None:
    """Official MAE and CrossMAE pretraining files with the decoder: the encoder in timm's names, beside decoder_* and
    mask_token, of CrossMAE also `wfm` and `dec_norms`.

    CrossMAE with weighted features makes no final norm of the encoder. It gets one as LayerNorm begins, for transfer to
    train, as our own encoders behind a `CrossDecoder`.
    """
    cross = "decoder_blocks.0.cross_attn.q.weight" in state
    if "decoder_embed.weight" not in state and not cross:
        return None
    rest = [name for name in state if name.startswith(("decoder_", "wfm.", "dec_norms.")) or name == "mask_token"]
    encoder = {name: value for name, value in state.items() if name not in rest}
    if not cross:
        return Format("official MAE (encoder and decoder)", encoder, rest)
    begun = ""
    if "norm.weight" not in encoder and (bias := encoder.get("blocks.0.norm1.bias")) is not None:
        encoder |= {"norm.weight": torch.ones_like(bias), "norm.bias": torch.zeros_like(bias)}
        begun = "; no final norm in it, which begins at 1 and 0"
    return Format(f"official CrossMAE (encoder and decoder{begun})", encoder, rest)


def official_mim(state: State) -> Format | None:
    """Official SimMIM or MFM pretraining files, ViT, Swin or ResNet: the encoder, SimMIM's with a mask token, beside
    `decoder.0.*`.

    Swin merges patches at the end of a stage, timm's at the beginning of the next.
    """
    method = "SimMIM" if "encoder.mask_token" in state else "MFM"
    if method == "MFM" and not ("decoder.0.weight" in state and any(name.startswith("encoder.") for name in state)):
        return None
    rest = [
        name
        for name in state
        if not name.startswith("encoder.") or name.endswith(("mask_token", "relative_position_index", "attn_mask"))
    ]
    encoder = {
        re.sub(r"^encoder\.(layers\.(\d+)\.downsample)?", _next_stage, name): value
        for name, value in state.items()
        if name not in rest
    }
    return Format(f"official {method} (encoder and decoder)", encoder, rest)


def _next_stage(found: re.Match) -> str:
    return f"layers.{int(found[2]) + 1}.downsample" if found[1] else ""


def official_mapet(state: State) -> Format | None:
    """Official MaPeT files, of pretraining and of fine-tuning: queries apart from keys and values."""
    if "blocks.0.attn.kv.weight" not in state:
        return None
    rest = [name for name in state if name.startswith(("mask_positional_token", "decoder.", "head."))]
    encoder = {}
    for name in (name for name in state if name not in rest and ".attn.kv." not in name):
        if ".attn.q." in name:
            encoder[name.replace(".q.", ".qkv.")] = torch.cat([state[name], state[name.replace(".q.", ".kv.")]])
        else:
            encoder[name] = state[name]
    return Format("official MaPeT", encoder, rest)


def renamed(state: State) -> Format | None:
    """Files of a codebase in `names`, the ViT alone or inside a larger model."""
    for table in TABLES:
        prefix = table.find(state)
        if prefix is not None:
            encoder, rest = table.read(state, prefix)
            for beside in _NORMS_BESIDE:
                names = {f"{beside}.{part}": f"norm.{part}" for part in ("weight", "bias")}
                if "norm.weight" not in encoder and names.keys() <= set(rest):
                    encoder |= {ours: state[theirs] for theirs, ours in names.items()}
                    rest = [name for name in rest if name not in names]
            return Format(f"{table.source} ({prefix}*)" if prefix else table.source, encoder, rest)
    return None


def eva(state: State) -> Format | None:
    """ViTs of timm's class Eva: official DINOv3 and EVA-02, and timm's own files of these and others."""
    if "blocks.0.norm1.weight" not in state:
        return None
    biases = "blocks.0.attn.q_bias" in state  # for queries and values
    if "storage_tokens" in state:
        source = "DINOv3"
    elif any("freqs_cos" in name for name in state) or (biases and any(".mlp.w" in name for name in state)):
        source = "EVA-02"
    elif ("rope.freqs" in state or "blocks.0.attn.q_proj.weight" in state or (is_swiglu(state) and biases)
          or ("blocks.0.gamma_1" in state and "reg_token" in state)):
        source = "timm's Eva"
    else:
        return None
    tops = ("mask_token", "lm_head.", "head.", "projectors.", "local_cls_norm.", "attn_pool.")
    rest = [name for name in state if FIXED.search(name) or name.startswith(tops)]
    masks = [name for name in rest if name.endswith(".bias_mask")]
    return Format(source, {name: value for name, value in state.items() if name not in rest or name in masks}, rest)


def dino(state: State) -> Format | None:
    """DINO and DINOv2: the backbone in timm's names alone, or beside projection heads."""
    if any(name.startswith(("head.last_layer.", "head.mlp.", "dino_head.")) for name in state):
        return _part(state, "backbone.", "DINO (backbone.*)")
    if "mask_token" not in state or not any(name.endswith("norm1.weight") for name in state):
        return None
    if "register_tokens" not in state and not any(name.endswith("ls1.gamma") for name in state):
        return None
    return Format("DINOv2", {name: value for name, value in state.items() if name != "mask_token"}, ["mask_token"])


def beit(state: State) -> Format | None:
    """BEiT and BEiT v2, official or timm's, and fine-tuned SimMIM: biases of queries and values apart."""
    if "blocks.0.attn.q_bias" not in state:
        return None
    rest = [name for name in state if name.startswith(("mask_token", "lm_head.", "cls_pt_layers.", "head."))]
    return Format("BEiT", {name: value for name, value in state.items() if name not in rest}, rest)


def timm_classifier(state: State) -> Format | None:
    """Average-pooling classifiers of timm and of MAE's fine-tuning: `fc_norm` after the pooling, and no `norm`.

    The same weights normalise tokens; a backbone with a final norm takes them for it.
    """
    if "fc_norm.weight" not in state or "norm.weight" in state:
        return None
    return Format("timm classifier (fc_norm taken as norm)", *_split_head(state))


def timm_plain(state: State) -> Format | None:
    """timm's own names at the top level, with or without a classifier head; also MAE's files of the encoder alone."""
    tops = ("patch_embed.", "blocks.", "stem.", "stages.", "layers.", "layer1.")
    if not any(name.startswith(tops) for name in state):
        return None
    encoder, rest = _split_head(state)
    return Format("timm" if rest or not _sincos(state.get("pos_embed")) else "MAE (encoder, sin-cos positions)",
                  encoder, rest)


def _sincos(positions: Tensor | None) -> bool:
    """Say whether positions [1, P+L, D] are MAE's fixed table: sines and cosines of the same angles, for y and for x.

    MAE's files of the encoder alone have timm's names; timm's own ViTs learn their positions.
    """
    if positions is None or positions.ndim != 3 or len(positions) != 1 or positions.shape[-1] % 4 or positions.is_meta:
        return False
    table = positions[0].float()
    table = table[table.abs().sum(-1) > 0]  # without the class token, whose position is 0
    y_sin, y_cos, x_sin, x_cos = table.chunk(4, dim=-1)
    ones = torch.cat([y_sin**2 + y_cos**2, x_sin**2 + x_cos**2])
    return len(table) > 1 and bool((ones - 1).abs().max() < 0.02)  # of half precision


def one_prefix(state: State) -> Format | None:
    """A ViT in timm's names somewhere inside a larger model, when there is just one."""
    suffix = "patch_embed.proj.weight"
    prefixes = {name[: -len(suffix)] for name in state if name.endswith(f".{suffix}")}
    return _part(state, prefix := prefixes.pop(), f"timm ({prefix}*)") if len(prefixes) == 1 else None


def _split_head(state: State) -> tuple[State, list[str]]:
    rest = [name for name in state if name.startswith(("head.", "head_dist."))]
    return {name: value for name, value in state.items() if name not in rest}, rest


def _in_timm_terms(encoder: State) -> State:
    """Bring a ViT of BEiT's or DINOv2's build to the tensors of timm's plain ViT.

    BEiT has layer scale as `gamma_*`, in pretraining a relative position bias that all blocks share, and after
    fine-tuning the final norm behind the pooling. DINOv2 calls the registers otherwise, and numbers its blocks inside
    numbered chunks. For timm's Eva, and biases of queries and values apart, see `from_eva`.
    """
    encoder = from_eva(encoder)
    blocks = sorted({found[0] for name in encoder if (found := re.match(r"blocks\.\d+(?=\.)", name))})
    chunked = "blocks.0.0.norm1.weight" in encoder
    mine: State = {}
    for name, value in encoder.items():
        if re.match(r"(blocks\.\d+\.attn|rel_pos_bias)\.relative_position_index", name):
            continue
        if name == "rel_pos_bias.relative_position_bias_table":
            mine |= {f"{block}.attn.relative_position_bias_table": value for block in blocks}
            continue
        if name.startswith("fc_norm.") and "norm.weight" not in encoder:
            name = name.removeprefix("fc_")
        if chunked:
            name = re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", name)
        mine[re.sub(r"\bgamma_([12])$", r"ls\1.gamma", name).replace("register_tokens", "reg_token")] = value
    return mine


KNOWN_FORMATS = (
    official_mae, official_mim, official_mapet, renamed, eva, dino, beit, timm_classifier, timm_plain,
    mimtransfer_method, openmmlab_model, one_prefix,
)
