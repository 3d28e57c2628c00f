"""Write a backbone as a folder that `timm.create_model('local-dir:FOLDER', pretrained=True)` reads.

ViTs, Swins and CNNs are timm's own models under timm's names; a ViT with BEiT's relative position bias is timm's Beit.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.convert import to_timm
from mimtransfer.errors import UserError
from mimtransfer.export.preprocessing import crop_share
from mimtransfer.export.source import Source, all_tokens, check_equal, require_vit, sample_images
from mimtransfer.files import open_to_readers

TARGET = "timm"
_INSTEAD = "give --to onnx"


def write_timm(source: Source, folder: Path) -> str:
    """Write `config.json` with `pretrained_cfg`, and `model.safetensors`, read them back and compare features.

    Returns:
        A line that says what was written.

    Raises:
        UserError: timm has no model that computes the same.
    """
    model, arch = build(source)
    height, width = (int(side) for side in source.backbone.img_size)
    images = sample_images(source.backbone)
    if isinstance(source.backbone, TimmViT):
        height, width = images.shape[-2:]
    data: dict[str, Any] = {"input_size": (images.shape[1], height, width), "interpolation": "bicubic",
                            "crop_pct": crop_share((height, width))}
    pixels = source.pixels or ([0.0] * images.shape[1], [255.0] * images.shape[1])  # the card says they are unknown
    data |= {key: [value / 255 for value in values] for key, values in zip(("mean", "std"), pixels)}
    # What timm published under this name is another model.
    own = {"tag": None, "license": None, "origin_url": None, "paper_name": None, "paper_ids": None, "notes": None,
           "description": _description(source), "num_classes": 0}
    timm.models.save_for_hf(model, str(folder), model_config={"pretrained_cfg": own}, safe_serialization=True,
                            data_config=data)
    open_to_readers(folder / "model.safetensors")
    loaded: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours, theirs = features(source.backbone, loaded, images)
    difference = check_equal(ours, theirs, f"{TARGET}'s {arch}")
    return f"{arch} of {TARGET}, {len(model.state_dict())} tensors; features equal to {difference:.0e}"


def build(source: Source) -> tuple[Any, str]:
    """Build timm's model with the weights of a backbone, without a head, and return it with its name there.

    Raises:
        UserError: there is none.
    """
    backbone, config = source.backbone, source.config
    kwargs: dict[str, Any] = {"num_classes": 0, "in_chans": backbone.in_chans, **(config.get("model_kwargs") or {})}
    arch, state = backbone.arch, dict(backbone.state_dict())
    if isinstance(backbone, TimmViT):
        vit = require_vit(source, TARGET, _INSTEAD)
        arch, options = _beit(vit, source) if vit.rel_pos == "bias" else _plain(vit)
        kwargs |= options
        if vit.rel_pos == "bias":
            state = to_timm(state, vit.grid_size).state
    elif type(backbone).__name__ == "TimmSwin":
        kwargs["img_size"] = tuple(backbone.img_size)
        if config.get("window_size"):
            kwargs["window_size"] = config["window_size"]
    try:
        model = timm.create_model(arch, **kwargs)
        wanted = model.state_dict()
        # Index tables and angles follow from the sizes, and timm keeps some of them in no file.
        state = {name: value for name, value in state.items() if name in wanted or value.is_floating_point()}
        # ConvNeXt's norm behind the pooling, which is of the head: it stays as LayerNorm begins.
        state |= {name: value for name, value in wanted.items() if name.startswith("head.norm.")}
        model.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        line = " ".join(str(error).split())[:160]
        raise UserError(f"checkpoint {source.path!r} has no counterpart in {TARGET}: its {type(backbone).__name__} of "
                        f"arch={arch!r} is not the whole model there ({line}): {_INSTEAD}") from error
    return model.eval(), arch


def _plain(vit: TimmViT) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"img_size": vit.img_size, "patch_size": vit.patch_size, "init_values": vit.layer_scale,
                               "depth": len(vit.blocks)}
    if vit.rope is not None:
        options |= {"dynamic_img_size": True}
    elif vit.pos_embed is None:
        options |= {"pos_embed": "none"}
    if isinstance(vit.norm, nn.Identity) and vit.rope is None:
        options |= {"final_norm": False}
    # The norm is over tokens; the pooled output is the class token, or the mean of the patches.
    pool = "token" if vit.cls_token is not None else "avg"
    return vit.arch, options | {"global_pool": pool} | ({"use_fc_norm": False} if vit.rope is not None else
                                                        {"fc_norm": False})


def _beit(vit: TimmViT, source: Source) -> tuple[str, dict[str, Any]]:
    if vit.reg_token is not None or vit.cls_token is None or isinstance(vit.norm, nn.Identity):
        raise UserError(f"checkpoint {source.path!r} has no counterpart in {TARGET}: it has a relative position bias, "
                        f"and no class token or final norm, or registers: {_INSTEAD}")
    block: Any = vit.blocks[0]
    scale = 0.1 if getattr(block.ls1, "gamma", None) is not None else 0.0  # timm would take None for its own 0.1
    return "beit_base_patch16_224", {
        "img_size": vit.img_size, "patch_size": vit.patch_size, "embed_dim": vit.embed_dim, "depth": len(vit.blocks),
        "num_heads": block.attn.num_heads, "mlp_ratio": block.mlp.fc1.out_features / vit.embed_dim,
        "init_values": scale, "use_abs_pos_emb": vit.pos_embed is not None, "use_rel_pos_bias": True,
        "use_fc_norm": False, "global_pool": "token"}


@torch.no_grad()
def features(backbone: Any, model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return ours and timm's: all tokens of a ViT, the last map [B, D, h, w] of others."""
    theirs = model.forward_features(images)
    if isinstance(backbone, TimmViT):
        return all_tokens(backbone, images), theirs
    ours = backbone(images)[-1]
    return ours, theirs.permute(0, 3, 1, 2) if theirs.shape[1] != ours.shape[1] else theirs


def _description(source: Source) -> str:
    label = (source.report.pretraining or {}).get("label")
    return f"{label or 'weights'} of mimtransfer"


