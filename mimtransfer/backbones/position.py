"""Fixed 2-d sine-cosine positions, as in MAE (He et al. 2021, arXiv 2111.06377, appendix A) and MoCo v3."""
import torch
from torch import Tensor

from mimtransfer.errors import UserError


def sincos2d(grid: tuple[int, int], dim: int, device: torch.device | str | None = None) -> Tensor:
    """Return the position table of a patch grid.

    Channels are [sin x, cos x, sin y, cos y], a quarter each, with x the column: MAE lets the width go first.
    (timm's interleaved `build_sincos2d_pos_embed` is [sin y, cos y, sin x, cos x], with float32 frequencies.)
    Angles are computed in float64 and rounded once, as in MAE.

    Args:
        grid: (h, w) patches.
        dim: Width of the tokens, a multiple of 4.
        device: Where it is computed; a copy from the host would wait for the device.

    Returns:
        [L, dim] float32 in [-1, 1], rows in row-major order of the grid.
    """
    if dim % 4:
        raise UserError(f"sin-cos positions need a width that is a multiple of 4, got {dim}: "
                        f"change embed_dim or use pos_embed='learned'")
    h, w = grid
    frequency = 10000 ** -(torch.arange(dim // 4, dtype=torch.float64, device=device) / (dim // 4))
    columns, rows = (torch.arange(size, dtype=torch.float64, device=device) for size in (w, h))
    x, y = columns[:, None] * frequency, rows[:, None] * frequency
    x, y = (torch.cat([angle.sin(), angle.cos()], dim=1) for angle in (x, y))  # [w, dim/2], [h, dim/2]
    table = torch.cat([x[None].expand(h, -1, -1), y[:, None].expand(-1, w, -1)], dim=2)  # [h, w, dim]
    return table.reshape(h * w, dim).float()
