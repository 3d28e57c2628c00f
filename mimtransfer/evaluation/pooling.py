"""One vector for each image: the mean of the patch tokens, or the class token."""
from typing import Any

from torch import Tensor, nn

from mimtransfer.errors import UserError


def check_pooling(backbone: nn.Module, pooling: str, owner: str) -> None:
    """Check that a backbone has what is to be pooled.

    Args:
        pooling: 'mean' of the last map, or the 'class' token.
        owner: named in the error.

    Raises:
        UserError: a pooling that there is not, or the class token of a backbone without one.
    """
    if pooling not in ("mean", "class"):
        raise UserError(f"{owner}: got pooling={pooling!r}, expected 'mean' or 'class'")
    if pooling == "class" and getattr(backbone, "cls_token", None) is None:
        raise UserError(f"{owner}: pooling='class', but the backbone has no class token; use 'mean'")
    if pooling == "class" and backbone.uses_grid:
        raise UserError(f"{owner}: pooling='class', but windows and relative positions leave the class token out; "
                        "use 'mean'")


def pool(backbone: Any, images: Tensor, pooling: str) -> Tensor:
    """Return features [B, D] of images [B, C, H, W], after the final norm of a backbone of ours where it has one."""
    if pooling == "mean":
        return backbone(images)[-1].mean(dim=(2, 3))
    grid = backbone.patch_grid(images)
    return backbone.encode(backbone.add_position(backbone.embed(images), grid), grid)[:, 0]
