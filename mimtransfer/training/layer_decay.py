"""Parameter groups of every plain ViT and Swin, in whatever model: layer-wise lr decay, and what has no weight decay.

The published rule (BEiT, Bao et al., 2021, arXiv 2106.08254; MAE, He et al., 2021, arXiv 2111.06377; ViTDet, Li et al.,
2022, arXiv 2203.16527): with L blocks, the stem has id 0, block i has id i + 1, all else has id L + 1, and
lr = base lr * rate ** (L + 1 - id). The last block is thus scaled by rate ** 1 and the stem by rate ** (L + 1).

In a Swin L counts the blocks of all stages (SimMIM, Xie et al., 2021, arXiv 2111.09886). The merging of patches between
two stages has the id of the block before it.
"""
from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mimtransfer.errors import UserError
from mimtransfer.registry import OPTIM_WRAPPER_CONSTRUCTORS

# Children of the ViT that act before its first block, or in all of them (`rope`); `norm_pre` is the CLIP family's.
STEM = ("patch_embed", "pos_embed", "cls_token", "reg_token", "dist_token", "mask_token", "norm_pre", "rope")
# Last parts of parameter names that are not decayed though they have more than one dimension.
NO_DECAY_NAMES = (
    "pos_embed", "cls_token", "reg_token", "dist_token", "mask_token",  # absolute positions and extra tokens
    "rel_pos_h", "rel_pos_w", "relative_position_bias_table",  # ViTDet's and BEiT's relative positions
    "freqs",  # learned angles of rotary positions
)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_KEYS = (
    "layer_decay_rate", "num_layers", "no_decay_names",
    "flat_decay_mult", "bias_decay_mult", "norm_decay_mult", "custom_keys",
)


def find_vits(model: nn.Module) -> dict[str, int]:
    """Find the plain ViTs in a model: modules with a `patch_embed` and a sequence of `blocks`.

    The decoder of a pretraining method has blocks, but no `patch_embed`.

    Returns:
        Prefix of the parameter names ("" for the model itself, "backbone." ...) -> number of blocks L.
    """
    vits = {}
    for name, module in model.named_modules():
        blocks = getattr(module, "blocks", None)
        if isinstance(blocks, (nn.ModuleList, nn.Sequential)) and hasattr(module, "patch_embed"):
            vits[f"{name}." if name else ""] = len(blocks)
    return vits


def find_swins(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Find the Swins in a model, modules with a `patch_embed` and stages `layers` of `blocks`.

    Returns:
        Prefix of the parameter names -> number of blocks of each stage.
    """
    swins = {}
    for name, module in model.named_modules():
        stages = getattr(module, "layers", None)
        if hasattr(module, "patch_embed") and isinstance(stages, (nn.ModuleList, nn.Sequential)):
            blocks: list[Any] = [stage.blocks for stage in stages]
            swins[f"{name}." if name else ""] = tuple(map(len, blocks))
    return swins


def layer_scale(name: str, vits: dict[str, int], rate: float, swins: dict[str, tuple[int, ...]] | None = None) -> float:
    """Return what multiplies the base lr of parameter `name`: rate ** (L + 1 - id), and 1 outside of every ViT and
    Swin.

    Args:
        vits: as `find_vits` returns it.
        swins: as `find_swins` returns it.
    """
    for prefix, depths in (swins or {}).items():
        local = name[len(prefix):] if name.startswith(prefix) else ""
        inside = re.match(r"layers\.(\d+)\.(?:blocks\.(\d+)\.|downsample\.)", local)
        if inside:
            before = sum(depths[: int(inside[1])])
            return rate ** (sum(depths) + 1 - (before if inside[2] is None else before + int(inside[2]) + 1))
        if local.split(".")[0] in STEM:
            return rate ** (sum(depths) + 1)
    for prefix, num_layers in vits.items():
        if not name.startswith(prefix):
            continue
        local = name[len(prefix):]
        block = re.match(r"blocks\.(\d+)\.", local)
        if block:
            return rate ** (num_layers - int(block[1]))
        if local.split(".")[0] in STEM:
            return rate ** (num_layers + 1)
    return 1.0


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build parameter groups with layer-wise lr decay and the usual exceptions from weight decay.

    Parameters of one (lr, weight decay) share a group, so a fused optimizer launches few kernels. Each group's `lr` is
    the final one: mmengine's schedulers multiply it, hence keep the ratios (give PolyLR and CosineAnnealingLR
    `eta_min=0` or `eta_min_ratio`: an absolute `eta_min` is the same for all groups). Frozen parameters are left out.

    `paramwise_cfg` may hold:
        layer_decay_rate: rate in (0, 1]; 1 leaves the lr alone.
        num_layers: only checked against the number of blocks found, for configs written for mmseg's constructor.
        no_decay_names: last parts of parameter names without weight decay; default `NO_DECAY_NAMES`, `()` for none.
        flat_decay_mult: times the weight decay for 1-D tensors (norms, biases, layer scale); default 0.
        bias_decay_mult, norm_decay_mult: the same for biases outside norms, and for norm layers; default
            `flat_decay_mult`. detectron2's ViTDet decays biases: `bias_decay_mult=1.0`.
        custom_keys: {part of a name: dict(lr_mult=, decay_mult=)}; the longest part that matches counts. `lr_mult`
            multiplies the layer's scale, `decay_mult` replaces all rules of weight decay for these parameters.

    Raises:
        UserError: on an unknown key, a missing `lr` or `weight_decay`, a rate outside (0, 1], and a rate below 1 when
            the model has no ViT or Swin to decay.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        # Never empty: mmengine takes an empty one for "no groups at all".
        super().__init__(optim_wrapper_cfg, {"layer_decay_rate": 1.0, **(paramwise_cfg or {})})

    def _validate_cfg(self) -> None:
        for key in self.paramwise_cfg:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f"did you mean {near[0]!r}" if near else f"use {', '.join(_KEYS)}"
                raise UserError(f"paramwise_cfg: unknown key {key!r} for LayerDecayOptimWrapperConstructor; {hint}")
        for key, options in self.paramwise_cfg.get("custom_keys", {}).items():
            if set(options) - {"lr_mult", "decay_mult"}:
                got = sorted(options)
                raise UserError(f"paramwise_cfg: custom_keys[{key!r}] got {got}, expected lr_mult and decay_mult")
        if self.base_lr is None or self.base_wd is None:
            raise UserError("optim_wrapper.optimizer: layer-wise decay needs explicit 'lr' and 'weight_decay' "
                            f"(got lr={self.base_lr}, weight_decay={self.base_wd}); write both into the config")
        rate = self.paramwise_cfg["layer_decay_rate"]
        if not 0 < rate <= 1:
            raise UserError(f"paramwise_cfg: layer_decay_rate is {rate}, expected a number in (0, 1]")

    def _check_vits(self, vits: dict[str, int], swins: dict[str, tuple[int, ...]]) -> None:
        rate, num_layers = self.paramwise_cfg["layer_decay_rate"], self.paramwise_cfg.get("num_layers")
        if rate < 1 and not vits and not swins:
            raise UserError(f"paramwise_cfg: layer_decay_rate is {rate} but the model holds no plain ViT (a module "
                            "with patch_embed and blocks) and no Swin; use a mimtransfer.TimmViT or TimmSwin backbone "
                            "or set layer_decay_rate=1.0")
        if num_layers is not None and vits and num_layers not in vits.values():
            found = sorted(vits.values())
            raise UserError(f"paramwise_cfg: num_layers is {num_layers} but the ViT has {found} blocks; "
                            "drop num_layers, it is counted")

    def _decay_mult(self, name: str, num_dims: int, in_norm: bool) -> float:
        if name.rpartition(".")[2] in self.paramwise_cfg.get("no_decay_names", NO_DECAY_NAMES):
            return 0.0
        flat = self.paramwise_cfg.get("flat_decay_mult", 0.0)
        if in_norm:
            return self.paramwise_cfg.get("norm_decay_mult", flat)
        if name.endswith("bias"):
            return self.paramwise_cfg.get("bias_decay_mult", flat)
        return flat if num_dims <= 1 else 1.0

    def _custom(self, name: str) -> dict:
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        # mmengine's order: longest first, then alphabetical.
        key = next((k for k in sorted(sorted(custom_keys), key=len, reverse=True) if k in name), None)
        return custom_keys[key] if key is not None else {}

    def __call__(self, model: nn.Module):
        """Build the optimizer and its wrapper for a model, wrapped for several processes or not."""
        # mmengine unwraps the model, but only FSDP's wrapper knows the shapes.
        sharded = isinstance(model, FullyShardedDataParallel)
        self._num_dims = _num_dims(model if sharded else getattr(model, "module", model))
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", is_dcn_module=None) -> None:
        """Append the groups of the whole model to `params`, smallest lr first, and log them as a table."""
        vits, swins = find_vits(module), find_swins(module)
        self._check_vits(vits, swins)
        norm_prefixes = {name for name, child in module.named_modules() if isinstance(child, _NORMS)}
        groups: dict[tuple[float, float], list[str]] = {}
        tensors = {name: param for name, param in module.named_parameters() if param.requires_grad}
        for name in tensors:
            custom = self._custom(name)
            scale = layer_scale(name, vits, self.paramwise_cfg["layer_decay_rate"], swins)
            scale *= custom.get("lr_mult", 1.0)
            decay_mult = custom.get("decay_mult")
            if decay_mult is None:
                in_norm = name.rpartition(".")[0] in norm_prefixes
                decay_mult = self._decay_mult(name, self._num_dims[_unsharded(name)], in_norm)
            groups.setdefault((scale, self.base_wd * decay_mult), []).append(name)
        if not groups:
            raise UserError("optim_wrapper: the model has no trainable parameter; unfreeze some (frozen_stages)")
        ordered = sorted(groups.items())
        for (scale, weight_decay), names in ordered:
            group = [tensors[n] for n in names]
            params.append({"params": group, "lr": self.base_lr * scale, "weight_decay": weight_decay})
        print_log(_table(ordered, self.base_lr, tensors), logger="current")


def _num_dims(model: nn.Module) -> dict[str, int]:
    """Return the number of dimensions of each parameter by its name without FSDP's parts.

    Of a model sharded by FSDP a process holds flat pieces, empty ones among them: a matrix would pass for a bias.
    """
    dims = {_unsharded(name): param.ndim for name, param in model.named_parameters()}
    for prefix, module in model.named_modules():
        if isinstance(module, FullyShardedDataParallel) and module._flat_param is not None:
            start = _unsharded(f"{prefix}.") if prefix else ""
            flat = module._flat_param
            dims |= {start + name: len(shape) for name, shape in zip(flat._fqns, flat._shapes)}
    return dims


def _unsharded(name: str) -> str:
    return name.replace("_fsdp_wrapped_module.", "")


def _table(
    groups: Iterable[tuple[tuple[float, float], list[str]]], base_lr: float, tensors: Mapping[str, Tensor]
) -> str:
    rows = ["lr groups:", f"{'scale':>10} {'lr':>10} {'decay':>8} {'tensors':>8} {'params':>12}  names"]
    for (scale, weight_decay), names in groups:
        shown = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
        size = sum(tensors[n].numel() for n in names)
        rows.append(
            f"{scale:>10.4g} {base_lr * scale:>10.3e} {weight_decay:>8.4g} {len(names):>8} {size:>12,}  {shown}"
        )
    return "\n".join(rows)
