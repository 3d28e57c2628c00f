"""Layers with a free size compute what torch's and mmseg's do."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mimtransfer.export.onnx_free_sizes import Enlarge, PoolToGrid, free_sizes


@pytest.mark.parametrize("cells", [1, 2, 3, 6, (2, 5), (None, 3), (4, None)])
@pytest.mark.parametrize("size", [(1, 1), (5, 11), (6, 4), (16, 9)])
def test_pooling_to_cells(cells, size):
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(PoolToGrid(cells)(maps), F.adaptive_avg_pool2d(maps, cells))


def test_layers_are_replaced_at_any_depth():
    import mimtransfer  # noqa: F401  before mmseg
    from mmseg.models.utils import Upsample  # isort: skip

    plain = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), Upsample(scale_factor=2, mode="bilinear",
                                                                     align_corners=False)),
                          Upsample(scale_factor=1.5), nn.AdaptiveAvgPool2d((3, 2)))
    images = torch.randn(2, 3, 5, 7)
    expected = plain(images)
    free_sizes(plain)
    assert isinstance(plain[0][1], Enlarge) and isinstance(plain[2], PoolToGrid)
    assert isinstance(plain[1], Upsample)  # sides times 1.5 are no integers
    torch.testing.assert_close(plain(images), expected)
