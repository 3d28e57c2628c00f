"""Build a ViT, plain or with rotary positions, by its timm name; say in one line what is wrong with the request."""
import difflib
from typing import Any

import timm
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from mimtransfer.checkpoints.channels import check_in_chans
from mimtransfer.errors import UserError

# Set by TimmViT's own arguments, or the business of a masking strategy (patch_drop_rate) or a head.
_RESERVED = ("in_chans", "img_size", "patch_size", "drop_path_rate", "init_values", "pos_embed", "num_classes",
             "global_pool", "fc_norm", "final_norm", "dynamic_img_size", "dynamic_img_pad", "patch_drop_rate",
             "pretrained")


def build_plain_vit(arch: str, *, img_size: tuple[int, int], patch_size: tuple[int, int] | None, drop_path_rate: float,
                    layer_scale: float | None, model_kwargs: dict, in_chans: int = 3) -> VisionTransformer | Eva:
    """Build a VisionTransformer, or an Eva whose positions are for any grid, with timm's initialisation, a final norm
    over tokens, and no pooling or head.

    Args:
        arch: Name of a plain ViT or an Eva (rotary positions) in timm, without weight tag.
        img_size: (H, W) that the position embedding is made for.
        patch_size: Side of a patch; None keeps the architecture's.
        layer_scale: Initial value of layer scale; None keeps the architecture's choice.
        model_kwargs: Further arguments of timm's class, e.g. depth, embed_dim, num_heads.
        in_chans: Channels of the images, 1 to 16.

    Raises:
        UserError: Unknown name (with near matches), no plain ViT, an option that timm refuses, or img_size is not a
            multiple of the patch.
    """
    _check_name(arch)
    taken = sorted(set(_RESERVED) & set(model_kwargs))
    if taken:
        raise UserError(f"model_kwargs of TimmViT may not hold {', '.join(taken)}: use the arguments of TimmViT itself")
    check_in_chans("TimmViT", in_chans)
    any_grid: dict[str, Any] = {"dynamic_img_size": True} if timm.models.is_model_in_modules(arch, "eva") else {}
    try:
        vit = timm.create_model(arch, pretrained=False, num_classes=0, global_pool="", img_size=img_size,
                                patch_size=patch_size, drop_path_rate=drop_path_rate, init_values=layer_scale,
                                in_chans=in_chans, **any_grid, **model_kwargs)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        _check_family(arch)
        reason = " ".join(str(error).split())
        raise UserError(f"timm cannot build arch={arch!r} with img_size={img_size}, patch_size={patch_size}, "
                        f"model_kwargs={model_kwargs}: {reason}") from error
    if type(vit) not in (VisionTransformer, Eva) or type(vit.patch_embed) is not PatchEmbed:
        _check_family(arch)
        raise UserError(f"arch={arch!r} is not a plain ViT but {type(vit).__name__}, embedded by "
                        f"{type(getattr(vit, 'patch_embed', None)).__name__}: take e.g. 'vit_base_patch16_224'")
    for side, patch in zip(img_size, vit.patch_embed.patch_size):
        if side % patch:
            raise UserError(f"img_size={img_size} of TimmViT is not a multiple of the patch "
                            f"{vit.patch_embed.patch_size}: take e.g. {side // patch * patch or patch} for {side}")
    assert isinstance(vit, VisionTransformer | Eva)
    vit.patch_embed.flatten = True  # to [B, L, D], which an Eva for any grid does later
    return vit


def _check_family(arch: str) -> None:
    """Refuse an architecture that is none of TimmViT's but of another backbone of ours, and name that one."""
    from mimtransfer.backbones.cnn import runs_in_order  # seldom needed

    if timm.models.model_entrypoint(arch).__module__.rpartition(".")[2] == "swin_transformer":
        raise UserError(f"arch={arch!r} is a Swin and no plain ViT: use type='mimtransfer.TimmSwin'")
    if runs_in_order(arch):
        raise UserError(f"arch={arch!r} is a network of stages and no plain ViT: use type='mimtransfer.TimmCNN'")


def _check_name(arch: str) -> None:
    names = timm.list_models()
    if arch in names:
        return
    if arch.split(".")[0] in names:
        raise UserError(f"arch={arch!r} names weights: give arch={arch.split('.')[0]!r} and the weights by "
                        f"init_cfg=dict(type='Pretrained', checkpoint=...)")
    plain = [name for module in ("vision_transformer", "deit", "eva") for name in timm.list_models(module=module)]
    near = difflib.get_close_matches(arch, plain, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models('vit_*') lists the names"
    raise UserError(f"unknown arch={arch!r} of TimmViT: {hint}")

