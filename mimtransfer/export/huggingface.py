"""Write a ViT as a folder of Hugging Face Transformers: ViTModel, Dinov2Model, Dinov2WithRegistersModel, BeitModel or
DINOv3ViTModel, whichever computes the same.

The names of the tensors are those of `mimtransfer/checkpoints/names.py`, and of the files on the Hub. Transformers
itself reads the folder back before it gets its name: nothing may be missing or left over, and all tokens must be those
of our backbone.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.convert import to_huggingface, write_safetensors
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.names import HF_DINOV2, HF_DINOV3, State, Table
from mimtransfer.checkpoints.rotary import family_of_arch
from mimtransfer.errors import UserError
from mimtransfer.export.folder import need, write_json
from mimtransfer.export.source import Source, all_tokens, check_equal, require_vit, sample_images

TARGET = "Transformers"
_INSTEAD = "give --to timm or --to onnx"
_ACTIVATIONS = {("GELU", "none"): "gelu", ("GELU", "tanh"): "gelu_pytorch_tanh", ("QuickGELU", "none"): "quick_gelu",
                ("GELUTanh", "none"): "gelu_pytorch_tanh", ("SiLU", "none"): "silu", ("ReLU", "none"): "relu"}


class Model(NamedTuple):
    """A model of Transformers: its classes by name, its config beyond the defaults, and its tensors as files name them.
    """

    model_class: str
    config_class: str
    config: dict[str, Any]
    state: State


def write_huggingface(source: Source, folder: Path) -> str:
    """Write `config.json` and `model.safetensors` into a folder, read them back and compare.

    Returns:
        A line that says what was written.

    Raises:
        UserError: Transformers is not installed, or has no model that computes the same.
    """
    transformers = need("transformers", "--to huggingface")
    vit = require_vit(source, TARGET, _INSTEAD)
    model = model_of(source, vit)
    images = sample_images(vit)
    loaded = write_model(transformers, model, folder, source.report.pretraining)
    with torch.no_grad():
        theirs = loaded(pixel_values=images).last_hidden_state
    difference = check_equal(all_tokens(vit, images), theirs, f"{TARGET}' {model.model_class}")
    return f"{model.model_class} of {TARGET}, {len(model.state)} tensors; all tokens equal to {difference:.0e}"


def write_model(transformers: Any, model: Model, folder: Path, metadata: Mapping[str, Any] | None) -> Any:
    """Write a model, read it back by Transformers, and return it in evaluation mode.

    Raises:
        UserError: Transformers misses a tensor, or has no place for one.
    """
    kind = getattr(transformers, model.config_class).model_type
    write_json({"architectures": [model.model_class], "model_type": kind, **model.config, "torch_dtype": "float32",
                "transformers_version": transformers.__version__}, folder / "config.json")
    # Parts of a fused tensor share its memory, which safetensors refuses.
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in model.state.items()}
    write_safetensors(state, folder / "model.safetensors", metadata)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        loaded, report = getattr(transformers, model.model_class).from_pretrained(
            folder, output_loading_info=True, local_files_only=True)
    finally:
        transformers.logging.set_verbosity(verbosity)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, report[kind])):
            raise UserError(f"{TARGET}' {model.model_class} and the checkpoint do not fit ({kind.replace('_', ' ')}: "
                            f"{', '.join(names[:3])}): {_INSTEAD}; nothing was written")
    return loaded.eval()


def model_of(source: Source, vit: TimmViT) -> Model:
    """Choose the model of Transformers that a ViT is, and bring config and tensors to its terms.

    Raises:
        UserError: there is none.
    """
    state = read_format({f"encoder.{name}": value for name, value in vit.state_dict().items()}).encoder
    if isinstance(vit.norm, nn.Identity):
        _refuse(source, "has no final norm, which each ViT there has", "export the checkpoint of its pretraining, or ")
    if vit.cls_token is None:
        _refuse(source, "has no class token, which each ViT there has")
    if "norm_pre.weight" in state:
        _refuse(source, "has a norm before its blocks (CLIP, Perception Encoder)")
    if any(".attn.q_norm." in name for name in state):
        _refuse(source, "normalises its queries and keys")
    config = _sizes(source, vit)
    if vit.rope is not None:
        return _dinov3(source, vit, state, config)
    if any(name.endswith("relative_position_bias_table") for name in state):
        return _beit(source, vit, state, config)
    if "blocks.0.ls1.gamma" in state or vit.reg_token is not None:
        return _dinov2(source, vit, state, config)
    return _vit(vit, state, config)


def _vit(vit: TimmViT, state: State, config: dict[str, Any]) -> Model:
    written = to_huggingface(_with_positions(vit, state), vit.grid_size).state
    named = {name.removeprefix("vit."): value for name, value in written.items()}
    # AutoModel makes a pooler, of random weights where the file has none: this one hands on the class token.
    named |= {"pooler.dense.weight": torch.eye(vit.embed_dim), "pooler.dense.bias": torch.zeros(vit.embed_dim)}
    return Model("ViTModel", "ViTConfig", {**config, "pooler_act": "linear"}, named)


def _dinov2(source: Source, vit: TimmViT, state: State, config: dict[str, Any]) -> Model:
    if vit.grid_size[0] != vit.grid_size[1]:
        _refuse(source, "has layer scale or registers and positions for images that are not square, which Dinov2Model "
                        "cannot take", "give --img-size SIDE, or ")
    width = config.pop("intermediate_size")
    if width % config["hidden_size"]:
        _refuse(source, f"has an MLP of {width} for a width of {config['hidden_size']}, no multiple of it")
    config["mlp_ratio"] = width // config["hidden_size"]
    state = _with_positions(vit, state)
    for number in range(len(vit.blocks)):
        for scale in ("ls1", "ls2"):
            state.setdefault(f"blocks.{number}.{scale}.gamma", torch.ones(vit.embed_dim))
    named = _written(source, HF_DINOV2, state)
    if vit.reg_token is None:
        return Model("Dinov2Model", "Dinov2Config", {**config, "use_mask_token": False}, named)
    named["embeddings.mask_token"] = torch.zeros(1, vit.embed_dim)
    config["num_register_tokens"] = vit.reg_token.shape[1]
    return Model("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", config, named)


def _beit(source: Source, vit: TimmViT, state: State, config: dict[str, Any]) -> Model:
    if vit.grid_size[0] != vit.grid_size[1]:
        _refuse(source, "has a relative position bias for images that are not square, which BeitModel cannot take",
                "give --img-size SIDE, or ")
    if vit.reg_token is not None:
        _refuse(source, "has registers and a relative position bias")
    config.pop("qkv_bias")
    if vit.pos_embed is not None:
        state = _with_positions(vit, state)
    named = {name.removeprefix("beit."): value for name, value in to_huggingface(state, vit.grid_size).state.items()}
    config |= {"use_relative_position_bias": True, "use_absolute_position_embeddings": vit.pos_embed is not None,
               "use_mean_pooling": False, "drop_path_rate": 0.0}
    if "blocks.0.ls1.gamma" not in state:
        config["layer_scale_init_value"] = 0.0
    return Model("BeitModel", "BeitConfig", config, named)


def _dinov3(source: Source, vit: TimmViT, state: State, config: dict[str, Any]) -> Model:
    if family_of_arch(vit.arch) != "DINOv3":
        _refuse(source, f"has the rotary positions of {family_of_arch(vit.arch) or vit.arch}, not those of DINOv3")
    if any("mlp.fc1_g" in name for name in state):
        # `up_proj` is the layer beside the gate.
        state = {name.replace("mlp.fc1_x.", "mlp.fc1."): value for name, value in state.items()}
        config |= {"use_gated_mlp": True, "hidden_act": "silu",
                   "intermediate_size": len(state["blocks.0.mlp.fc1.weight"])}
    bias = state.get("blocks.0.attn.qkv.bias")
    keys = any(value.chunk(3)[1].any() for name, value in state.items() if name.endswith("qkv.bias"))
    named = _written(source, HF_DINOV3, state)
    if not keys:
        named = {name: value for name, value in named.items() if not name.endswith("k_proj.bias")}
    config.pop("qkv_bias")
    registers = vit.reg_token
    config |= {"query_bias": bias is not None, "value_bias": bias is not None, "key_bias": bool(keys),
               "num_register_tokens": 0 if registers is None else registers.shape[1],
               "rope_theta": vit.rope.temperature}
    if registers is None:
        named["embeddings.register_tokens"] = torch.zeros(1, 0, vit.embed_dim)
    named["embeddings.mask_token"] = torch.zeros(1, 1, vit.embed_dim)
    return Model("DINOv3ViTModel", "DINOv3ViTConfig", config, named)


def _sizes(source: Source, vit: TimmViT) -> dict[str, Any]:
    """Return what all their configs call the same."""
    block: Any = vit.blocks[0]
    norms = {module.eps for module in vit.modules() if isinstance(module, nn.LayerNorm)}
    if len(norms) > 1 or not isinstance(block.norm1, nn.LayerNorm):
        _refuse(source, f"has {type(block.norm1).__name__} of epsilons {sorted(norms)}, expected one LayerNorm")
    activation = getattr(block.mlp, "act", None)
    kind = (type(activation).__name__, getattr(activation, "approximate", "none"))
    if kind not in _ACTIVATIONS:
        _refuse(source, f"has the activation {kind[0]}, which is not among {', '.join(_ACTIVATIONS.values())}")
    sides: list[Any] = [side[0] if side[0] == side[1] else list(side) for side in (vit.img_size, vit.patch_size)]
    fc2: nn.Linear = block.mlp.fc2
    return {"hidden_size": vit.embed_dim, "num_hidden_layers": len(vit.blocks),
            "num_attention_heads": block.attn.num_heads, "intermediate_size": fc2.in_features,
            "hidden_act": _ACTIVATIONS[kind], "layer_norm_eps": norms.pop(), "image_size": sides[0],
            "patch_size": sides[1], "num_channels": vit.in_chans,
            "qkv_bias": getattr(getattr(block.attn, "qkv", None), "bias", None) is not None}


def _with_positions(vit: TimmViT, state: State) -> State:
    """Give `pos_embed` [1, 1+L, D]: a row for the class token and none for registers, whose own are added to them."""
    state = dict(state)
    if vit.pos_embed is None:
        state["pos_embed"] = torch.zeros(1, 1 + vit.grid_size[0] * vit.grid_size[1], vit.embed_dim)
        return state
    count = vit.num_prefix_positions
    prefix, patches = state["pos_embed"][:, :count], state["pos_embed"][:, count:]
    row: Tensor = prefix[:, :1] if count else patches.new_zeros(1, 1, vit.embed_dim)
    if count > 1:
        state["reg_token"] = state["reg_token"] + prefix[:, 1:]
    state["pos_embed"] = torch.cat([row, patches], dim=1)
    return state


def _written(source: Source, table: Table, state: State) -> State:
    named, unmapped = table.write(state)
    if unmapped:
        _refuse(source, f"has {unmapped[0]}, which {table.source} has no place for")
    return named


def _refuse(source: Source, why: str, first: str = "") -> NoReturn:
    raise UserError(f"checkpoint {source.path!r} has no counterpart in {TARGET}: its ViT {why}: {first}{_INSTEAD}")
