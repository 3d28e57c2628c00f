"""One vector for each image, the mean of the patch tokens or the class token; or all patch tokens, for attention."""
from typing import Any

from torch import Tensor, nn

from mimtransfer.errors import UserError


def check_pooling(backbone: nn.Module, pooling: str, owner: str, attention: bool = False) -> None:
    """Check that a backbone has what is to be pooled.

    Args:
        pooling: 'mean' of the last map, the 'class' token, or 'attention'.
        owner: named in the error.
        attention: whether the owner has a query that attends.

    Raises:
        UserError: a pooling that there is not, or the class token of a backbone without one.
    """
    if pooling not in ("mean", "class") and not (attention and pooling == "attention"):
        expected = "'mean', 'class' or 'attention'" if attention else "'mean' or 'class'"
        raise UserError(f"{owner}: got pooling={pooling!r}, expected {expected}")
    if pooling == "class" and getattr(backbone, "cls_token", None) is None:
        raise UserError(f"{owner}: pooling='class', but the backbone has no class token; use 'mean'")
    if pooling == "class" and backbone.uses_grid:
        raise UserError(f"{owner}: pooling='class', but windows and relative positions leave the class token out; "
                        "use 'mean'")


def pool(backbone: Any, images: Tensor, pooling: str) -> Tensor:
    """Return features of images [B, C, H, W], after the final norm of a backbone of ours where it has one.

    Returns:
        [B, D]; for 'attention' [B, N, D], the tokens of the last map, row by row.
    """
    if pooling == "attention":
        return backbone(images)[-1].flatten(2).mT
    if pooling == "mean":
        return backbone(images)[-1].mean(dim=(2, 3))
    grid = backbone.patch_grid(images)
    return backbone.encode(backbone.add_position(backbone.embed(images), grid), grid)[:, 0]
