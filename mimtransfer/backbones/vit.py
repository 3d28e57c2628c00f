"""TimmViT: one plain ViT for pretraining (any subset of tokens) and transfer (maps of whole images).

ViT (Dosovitskiy et al. 2020, arXiv 2010.11929), built by timm; in transfer optionally with ViTDet's windows (Li et al.
2022, arXiv 2203.16527) or BEiT's relative position bias; or timm's Eva, with rotary positions (`rotary.py`). Parameter
names are timm's at the top level of the module, and timm's state dict loads with strict=True; the options of transfer
only add names.
"""
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, to_2tuple
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mimtransfer.backbones.attention import GridBlock
from mimtransfer.backbones.position import sincos2d
from mimtransfer.backbones.post_norm import PostNormBlock
from mimtransfer.backbones.pretrained import PretrainedBackbone
from mimtransfer.backbones.rotary import RotaryGridBlock, check_options, rotary_tables
from mimtransfer.backbones.timm_arch import build_plain_vit
from mimtransfer.checkpoints.channels import check_channels
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS


@MODELS.register_module()
class TimmViT(PretrainedBackbone):
    """Encode patches, all of them or a subset.

    Pretraining calls `embed`, `add_position`, `encode`; these never pad and refuse images that are no multiple of the
    patch. Transfer calls `forward`, which pads right and bottom with zeros (the mean pixel of normalised images).

    Blocks after the last of `out_indices` do not exist, nor does the final norm then: every parameter that asks for a
    gradient gets one, so DDP needs no search for unused ones.

    With windows or decomposed relative positions `forward` drops the prefix tokens, as ViTDet does; they stay in the
    module, without gradient, for the checkpoint. `encode` refuses these two; it takes `rel_pos='bias'`.

    Args:
        arch: Name of a plain ViT or an Eva (EVA-02, DINOv3, RoPE-ViT ...) in timm; the latter takes no `rel_pos`.
        img_size: Image side or (H, W) that `pos_embed` is made for; other sizes resample it in the forward pass.
        patch_size: Patch side; None keeps the architecture's.
        out_indices: Blocks whose outputs `forward` returns, in this order; negative ones count from the end.
        pos_embed: 'learned', 'sincos' for MAE's fixed table (zero for prefix tokens, never trained), or 'none' (BEiT).
        drop_path_rate: Drop path of the last block; it grows linearly from 0 at the first.
        window_size: Side of attention windows in patches; 0 for none.
        global_blocks: Blocks without windows when `window_size` is set; negative ones count from the end.
        rel_pos: 'decomposed' (ViTDet), 'bias' (BEiT, per layer) or None.
        rel_pos_size: Image side or (H, W) that relative positions of global blocks are made for; None for `img_size`.
        layer_scale: Initial value of layer scale; None keeps the architecture's choice.
        final_norm: Whether the last block's output passes the final norm, in `encode` and in `forward`.
        frozen_stages: -1 trains all; n >= 0 freezes the stem and the first n blocks.
        grad_checkpointing: Recompute each block in the backward pass.
        flex_attention: Let FlexAttention add decomposed relative positions in global blocks, in training on CUDA.
        model_kwargs: Further arguments of timm's class, e.g. depth, embed_dim, num_heads.
        init_cfg: dict(type='Pretrained', checkpoint=PATH) loads a pretraining checkpoint; its report is `load_report`.
        in_chans: Channels of the images, 1 to 16.
        post_norm: Norms behind the sums of each block and one before the first, as data2vec 2.0; no final norm then.

    Raises:
        UserError: From the constructor, for a name, size or combination that makes no model.
    """

    def __init__(self, arch: str = "vit_base_patch16_224", img_size: int | tuple[int, int] = 224,
                 patch_size: int | tuple[int, int] | None = None, out_indices: tuple[int, ...] = (-1,),
                 pos_embed: str = "learned", pos_antialias: bool = True, drop_path_rate: float = 0.0,
                 window_size: int = 0, global_blocks: tuple[int, ...] = (), rel_pos: str | None = None,
                 rel_pos_size: int | tuple[int, int] | None = None, layer_scale: float | None = None,
                 final_norm: bool = True, frozen_stages: int = -1, grad_checkpointing: bool = False,
                 flex_attention: bool = True, model_kwargs: dict | None = None,
                 init_cfg: dict | list[dict] | None = None, in_chans: int = 3, post_norm: bool = False) -> None:
        super().__init__(init_cfg)
        _check_choice("pos_embed", pos_embed, ("learned", "sincos", "none"))
        _check_choice("rel_pos", rel_pos, (None, "decomposed", "bias"))
        if global_blocks and not window_size:
            raise UserError(f"global_blocks={tuple(global_blocks)} of TimmViT needs window_size: "
                            f"without windows every block is global")

        self.img_size = tuple(to_2tuple(img_size))
        vit = build_plain_vit(arch, img_size=self.img_size, drop_path_rate=drop_path_rate, layer_scale=layer_scale,
                              patch_size=None if patch_size is None else tuple(to_2tuple(patch_size)),
                              in_chans=in_chans, model_kwargs=dict(model_kwargs or {}))
        if isinstance(vit, Eva):
            check_options(vit, arch, pos_embed, rel_pos, post_norm)
        self.rope: Any = getattr(vit, "rope", None)
        self.in_chans = in_chans
        # The architecture's depth, though there may be fewer blocks: checkpoint.py tells a cut backbone by it.
        self.depth = depth = len(vit.blocks)
        self.arch = arch
        self.out_indices = _block_indices("out_indices", out_indices, depth)
        if not self.out_indices:
            raise UserError("out_indices of TimmViT is empty: name at least one block, e.g. (-1,)")
        global_blocks = _block_indices("global_blocks", global_blocks, depth)
        self.num_layers = max(self.out_indices) + 1
        if not -1 <= frozen_stages <= self.num_layers:
            raise UserError(f"frozen_stages={frozen_stages} of TimmViT is not in -1 ... {self.num_layers}, its blocks")

        self.embed_dim: int = vit.embed_dim
        self.patch_size: tuple[int, int] = vit.patch_embed.patch_size
        self.grid_size: tuple[int, int] = vit.patch_embed.grid_size
        self.num_prefix_tokens: int = vit.num_prefix_tokens
        self.frozen_stages = frozen_stages
        self.grad_checkpointing = grad_checkpointing
        self.layer_scale = layer_scale
        self.rel_pos = rel_pos
        self.uses_grid = bool(window_size) or rel_pos is not None  # in forward, blocks get the grid
        self.drops_prefix = bool(window_size) or rel_pos == "decomposed"

        self.patch_embed = vit.patch_embed
        self.patch_embed.strict_img_size = False
        self.cls_token, self.reg_token = vit.cls_token, vit.reg_token
        self.pos_embed = None if pos_embed == "none" else vit.pos_embed
        # Prefix tokens with a position of their own: all of them, or none (DeiT-3, DINOv2 with registers).
        num_positions = 0 if self.pos_embed is None else self.pos_embed.shape[1]
        self.num_prefix_positions = max(0, num_positions - vit.patch_embed.num_patches)
        self.pos_antialias = pos_antialias
        self.fixed_positions = pos_embed == "sincos"
        if self.fixed_positions:
            table = sincos2d(self.grid_size, self.embed_dim)
            table = torch.cat([table.new_zeros(self.num_prefix_positions, self.embed_dim), table])
            self.pos_embed = nn.Parameter(table[None], requires_grad=False)
        self.pos_drop, self.norm_pre = vit.pos_drop, vit.norm_pre

        blocks: list[Any] = list(vit.blocks)[:self.num_layers]
        if post_norm:
            norm: Any = vit.norm
            self.norm_pre = nn.LayerNorm(self.embed_dim, eps=norm.eps)
            blocks = [PostNormBlock(block) for block in blocks]
        if isinstance(vit, Eva) and window_size:
            blocks = [RotaryGridBlock(block, 0 if i in global_blocks else window_size)
                      for i, block in enumerate(blocks)]
        elif self.uses_grid:
            size = self.img_size if rel_pos_size is None else to_2tuple(rel_pos_size)
            blocks = [GridBlock(block, 0 if i in global_blocks else window_size, rel_pos, self._grid_of(size),
                                flex_attention)
                      for i, block in enumerate(blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = vit.norm if final_norm and self.num_layers == depth and not post_norm else nn.Identity()
        self._freeze()

    def patch_grid(self, images: Tensor) -> tuple[int, int]:
        """Return (h, w) of images [B, C, H, W] after padding to the patch multiple."""
        return self._grid_of(images.shape[-2:])

    def embed(self, images: Tensor) -> Tensor:
        """Embed patches, [B, C, H, W] -> [B, L, D], without position.

        Raises:
            UserError: H or W is not a multiple of the patch, or C is not `in_chans`.
        """
        check_channels("TimmViT", images, self.in_chans)
        (height, width), (ph, pw) = images.shape[-2:], self.patch_size
        if height % ph or width % pw:
            raise UserError(f"images of {height}x{width} are not a multiple of the patch {ph}x{pw}: "
                            f"crop or resize them in the data pipeline, or change patch_size")
        # The strides of a convolution's output would live on in every sum, and be copied before every norm.
        return self.patch_embed(images).contiguous()

    def add_position(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add the position embedding to all patch tokens [B, L, D] of `grid`; prefix tokens get theirs in `encode`.

        Another grid than `grid_size` resamples the embedding, so maps equal those of timm's own forward pass, or those
        of detectron2 with `pos_antialias=False`; gradients flow through.
        """
        if self.pos_embed is None:
            return tokens
        positions = self.pos_embed[:, self.num_prefix_positions:]
        if tuple(grid) == tuple(self.grid_size):  # timm would resample it all the same where it is compiled
            return tokens + positions
        return tokens + resample_abs_pos_embed(positions, new_size=grid, old_size=self.grid_size, num_prefix_tokens=0,
                                               antialias=self.pos_antialias)

    def encode(self, tokens: Tensor, grid: tuple[int, int] | None = None, patches: Tensor | None = None) -> Tensor:
        """Run the transformer on any subset of tokens, with global attention.

        Args:
            tokens: [B, N, D] patch tokens, positions already added.
            grid: (h, w) of the whole image; only a relative position bias and rotary positions need it.
            patches: [B, N] int64, which patches the tokens are; None where they are all of `grid`, row-major.

        Returns:
            [B, P+N, D], prefix tokens first, after the final norm.

        Raises:
            UserError: Windows or decomposed relative positions, which have no place for prefix tokens; a bias or rotary
                positions without `grid`.
        """
        self._check_place(grid)
        x = self.norm_pre(self.pos_drop(self.prepend_prefix(tokens)))
        for block, place in zip(self.blocks, self.places(grid, patches)):
            x = self._run(block, x, **place)
        return self.norm(x)

    def encode_blocks(self, tokens: Tensor, grid: tuple[int, int] | None = None,
                      patches: Tensor | None = None) -> list[Tensor]:
        """Run the transformer as `encode` does, and return what goes into the first block and what comes out of each.

        Returns:
            Number of blocks + 1 tensors [B, P+N, D], prefix tokens first; none has passed the final norm.
        """
        self._check_place(grid)
        seen = [self.norm_pre(self.pos_drop(self.prepend_prefix(tokens)))]
        for block, place in zip(self.blocks, self.places(grid, patches)):
            seen.append(self._run(block, seen[-1], **place))
        return seen

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps [B, D, h, w] of images [B, C, H, W] after the blocks `out_indices`, in their order."""
        grid = h, w = self.patch_grid(images)
        bottom = h * self.patch_size[0] - images.shape[-2]
        right = w * self.patch_size[1] - images.shape[-1]
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        x = self.add_position(self.embed(images), grid)
        num_prefix_tokens = 0 if self.drops_prefix else self.num_prefix_tokens
        if num_prefix_tokens:
            x = self.prepend_prefix(x)
        x = self.norm_pre(self.pos_drop(x))
        maps = {}
        for i, (block, place) in enumerate(zip(self.blocks, self.places(grid))):
            x = self._run(block, x, **place)
            if i in self.out_indices:
                tokens = self.norm(x) if i == self.num_layers - 1 else x
                tokens = tokens[:, num_prefix_tokens:]
                maps[i] = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
        return tuple(maps[i] for i in self.out_indices)

    def _grid_of(self, image_size: Sequence[int]) -> tuple[int, int]:
        height, width = (-(-side // patch) for side, patch in zip(image_size, self.patch_size))
        return height, width

    def prepend_prefix(self, tokens: Tensor) -> Tensor:
        """Put the prefix tokens, with their positions, before the patches: [B, N, D] -> [B, P+N, D]."""
        own: list[Tensor] = [token for token in (self.cls_token, self.reg_token) if token is not None]
        if not own:
            return tokens
        prefix = torch.cat(own, dim=1)  # [1, P, D]
        if self.pos_embed is not None and self.num_prefix_positions:
            prefix = prefix + self.pos_embed[:, :self.num_prefix_positions]
        return torch.cat([prefix.expand(tokens.shape[0], -1, -1), tokens], dim=1)

    def places(self, grid: tuple[int, int] | None, patches: Tensor | None = None) -> Iterator[dict[str, Any]]:
        """Yield what each block must know of where its tokens lie, as keyword arguments.

        Args:
            grid: (h, w) of the whole image; None only where no block needs it.
            patches: [B, N] int64, which patches there are; None for all of `grid`, row-major.
        """
        place: dict[str, Any] = {"grid": grid} if self.uses_grid else {}
        if self.rope is not None:
            assert grid is not None
            for table in rotary_tables(self.rope, grid, patches, len(self.blocks)):
                yield {**place, "rope": table}
            return
        if self.uses_grid and patches is not None:
            place["patches"] = patches
        yield from [place] * len(self.blocks)

    def _check_place(self, grid: tuple[int, int] | None) -> None:
        if self.drops_prefix or (self.uses_grid and grid is None):
            raise UserError(f"TimmViT.encode: window_size and rel_pos={self.rel_pos!r} would be left out: take "
                            f"rel_pos=None without windows, or rel_pos='bias' and give encode the grid")
        if self.rope is not None and grid is None:
            raise UserError("TimmViT.encode: rotary positions would be left out: give encode the grid")

    def _run(self, block: nn.Module, x: Tensor, **kwargs: Any) -> Tensor:
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False, **kwargs)
        return block(x, **kwargs)

    def expected_missing_keys(self) -> tuple[str, ...]:
        """Return fnmatch patterns of keys that a pretraining checkpoint may lack: added, fixed or unused here."""
        patterns = {"decomposed": ("blocks.*.attn.rel_pos_h", "blocks.*.attn.rel_pos_w"),
                    "bias": ("blocks.*.attn.relative_position_bias_table",), None: ()}[self.rel_pos]
        if self.layer_scale is not None:
            patterns += ("blocks.*.ls1.gamma", "blocks.*.ls2.gamma", "blocks.*.gamma_1", "blocks.*.gamma_2")
        if self.fixed_positions:
            patterns += ("pos_embed",)
        if self.drops_prefix:
            patterns += ("cls_token", "reg_token")
        return patterns

    def train(self, mode: bool = True) -> "TimmViT":
        """Set training mode; frozen stages stay in evaluation mode (no dropout, no drop path)."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        rope = [] if self.rope is None else [self.rope]
        return [self.patch_embed, self.pos_drop, self.norm_pre, *rope, *self.blocks[:self.frozen_stages]]

    def _freeze(self) -> None:
        prefix = [token for token in (self.cls_token, self.reg_token) if token is not None]
        stem = [*prefix, self.pos_embed] if self.frozen_stages >= 0 else prefix if self.drops_prefix else []
        for parameter in stem:
            if parameter is not None:
                parameter.requires_grad_(False)
        for module in self._frozen_modules():
            module.requires_grad_(False)


def _check_choice(name: str, value: str | None, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f"{name}={value!r} of TimmViT is not one of {', '.join(map(repr, choices))}")


def _block_indices(name: str, indices: tuple[int, ...], depth: int) -> tuple[int, ...]:
    resolved = tuple(i + depth if i < 0 else i for i in indices)
    if not all(0 <= i < depth for i in resolved) or len(set(resolved)) < len(resolved):
        raise UserError(f"{name}={tuple(indices)} of TimmViT must name different blocks out of {depth}: "
                        f"0 to {depth - 1}, or negative")
    return resolved
