import math

import numpy as np
import pytest
import torch
from mmcv.ops import RoIPool, roi_align, roi_pool

from mimtransfer.openmmlab.mmcv_ext.roi_align import BinGrid, average_bins

MAPS = [
    [[[1.0, 2], [3, 4]]],
    [[[1.0, 2], [3, 4]], [[4, 3], [2, 1]]],
    [[[1.0, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]]],
]
LAST = [1, 1, 3]
# Boxes [image, x1 y1 x2 y2] on maps of 6 x 7 pixels at scale 1/2: inside, across a border, wider than the map, tiny.
BOXES = [[0, 1.3, 2.1, 9.8, 8.7], [1, -3.0, 4.2, 5.5, 15.0], [1, -8.0, -8.0, 30.0, 20.0], [0, 3.0, 3.0, 3.4, 9.0]]


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Value [C] of image [C, H, W]; points up to one pixel outside take the border, further ones 0."""
    _, height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = image[:, y0, x0] * (x0 + 1 - x) + image[:, y0, x1] * (x - x0)
    return top * (y0 + 1 - y) + (image[:, y1, x0] * (x0 + 1 - x) + image[:, y1, x1] * (x - x0)) * (y - y0)


def reference_roi_align(maps, boxes, bins, scale, ratio, mode, aligned):
    out = np.zeros((len(boxes), maps.shape[1], *bins))
    for k, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        height, width = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
        step_y, step_x = height / bins[0], width / bins[1]
        gy, gx = ratio or math.ceil(step_y), ratio or math.ceil(step_x)
        for i in range(bins[0]):
            for j in range(bins[1]):
                samples = [
                    bilinear(
                        maps[int(image)],
                        y1 + i * step_y + (a + 0.5) * step_y / gy,
                        x1 + j * step_x + (b + 0.5) * step_x / gx,
                    )
                    for a in range(gy)
                    for b in range(gx)
                ]
                out[k, :, i, j] = np.mean(samples, 0) if mode == "avg" else np.max(samples, 0)
    return out


def reference_roi_pool(maps, boxes, bins, scale):
    _, channels, height, width = maps.shape
    out = np.zeros((len(boxes), channels, *bins))
    for k, (image, x1, y1, x2, y2) in enumerate(boxes):
        x, y, w, h = x1 * scale, y1 * scale, (x2 + 1 - x1) * scale, (y2 + 1 - y1) * scale
        for i in range(bins[0]):
            for j in range(bins[1]):
                rows = slice(
                    *np.clip([math.floor(y + i * h / bins[0]), math.ceil(y + (i + 1) * h / bins[0])], 0, height)
                )
                columns = slice(
                    *np.clip([math.floor(x + j * w / bins[1]), math.ceil(x + (j + 1) * w / bins[1])], 0, width)
                )
                cell = maps[int(image)][:, rows, columns]
                out[k, :, i, j] = cell.max((1, 2)) if cell.size else 0
    return out


def random_maps(device, dtype=torch.float64):
    return torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_equals_a_plain_loop(device, mode, ratio, aligned):
    maps, boxes = random_maps(device) - 0.5, torch.tensor(BOXES, dtype=torch.float64, device=device)
    expected = reference_roi_align(maps.cpu().numpy(), BOXES, (3, 2), 0.5, ratio, mode, aligned)
    out = roi_align(maps, boxes, (3, 2), 0.5, ratio, mode, aligned)
    np.testing.assert_allclose(out.cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_gradient(device, mode, aligned):
    maps, boxes = random_maps(device).requires_grad_(), torch.tensor(BOXES, dtype=torch.float64, device=device)
    assert torch.autograd.gradcheck(lambda m: roi_align(m, boxes, (2, 3), 0.5, 0, mode, aligned), maps, fast_mode=True)


@pytest.mark.parametrize("ratio", [0, 2])
def test_deterministic_average_equals_the_kernel(device, ratio):
    boxes = torch.tensor(BOXES, dtype=torch.float64, device=device)
    kernel_maps, plain_maps = (random_maps(device).requires_grad_() for _ in range(2))
    from_kernel = roi_align(kernel_maps, boxes, (3, 2), 0.5, ratio, "avg", True)
    plain = average_bins(plain_maps, boxes, BinGrid(boxes, (3, 2), 0.5, ratio, True))
    torch.testing.assert_close(plain, from_kernel, rtol=0, atol=1e-12)
    weight = torch.rand_like(plain)
    (from_kernel * weight).sum().backward()
    (plain * weight).sum().backward()
    torch.testing.assert_close(plain_maps.grad, kernel_maps.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_roi_align_published_values(device, dtype):
    # mmcv tests/test_ops/test_roi_align.py, 2 x 2 bins of 2 x 2 samples
    outputs = [
        [[[1.0, 1.25], [1.5, 1.75]]],
        [[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]],
        [[[1.9375, 4.75], [7.5625, 10.375]]],
    ]
    row = [0.6875, 0.625, 0.625, 0.0625]
    grads = [[[3.0625, 0.4375], [0.4375, 0.0625]]] * 2 + [np.outer(row, row).tolist()]
    for image, last, output, grad in zip(MAPS, LAST, outputs, grads):
        maps = torch.tensor([image], dtype=dtype, device=device, requires_grad=True)
        out = roi_align(
            maps, torch.tensor([[0.0, 0, 0, last, last]], dtype=dtype, device=device), (2, 2), 1.0, 2, "avg", True
        )
        out.sum().backward()
        np.testing.assert_allclose(out.detach().float().cpu(), [output], atol=1e-6)
        np.testing.assert_allclose(maps.grad.float().cpu(), np.broadcast_to(grad, maps.shape), atol=1e-3)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(device, dtype, mode):
    boxes = torch.tensor(BOXES, device=device).to(dtype)
    narrow, wide = random_maps(device, dtype).requires_grad_(), random_maps(device, dtype).float().requires_grad_()
    out = roi_align(narrow, boxes, (3, 2), 0.5, 0, mode, True)
    expected = roi_align(wide, boxes.float(), (3, 2), 0.5, 0, mode, True)
    assert torch.equal(out, expected.to(dtype))
    out.sum().backward()
    expected.sum().backward()
    assert torch.equal(narrow.grad, wide.grad.to(dtype))


def test_autocast_changes_nothing(device):
    maps, boxes = random_maps(device, torch.float32), torch.tensor(BOXES, device=device)
    plain = [roi_align(maps, boxes, (2, 2), 0.5, 0, mode, True) for mode in ("avg", "max")]
    with torch.autocast(device, dtype=torch.bfloat16):
        inside = [roi_align(maps, boxes, (2, 2), 0.5, 0, mode, True) for mode in ("avg", "max")]
    assert all(torch.equal(a, b) for a, b in zip(plain, inside))


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_boxes_without_area_give_zeros_and_no_gradient(device, mode):
    maps = random_maps(device).requires_grad_()
    out = roi_align(
        maps, torch.tensor([[0, 2.0, 2, 2, 6]], dtype=torch.float64, device=device), (2, 2), 1.0, 0, mode, True
    )
    out.sum().backward()
    assert out.abs().sum() == 0 and maps.grad.abs().sum() == 0


def test_negative_boxes_are_refused_on_the_cpu():
    with pytest.raises(ValueError, match=r"x2 >= x1.*got \[4\.0, 1\.0, 2\.0, 3\.0\], image 1"):
        roi_align(
            random_maps("cpu"), torch.tensor([[1, 4.0, 1, 2, 3]], dtype=torch.float64), (2, 2), 1.0, 0, "avg", True
        )


def test_no_boxes(device):
    maps = random_maps(device).requires_grad_()
    none = torch.zeros(0, 5, dtype=torch.float64, device=device)
    outs = [roi_align(maps, none, (2, 2), 1.0, 0, mode, True) for mode in ("avg", "max")] + [
        roi_pool(maps, none, (2, 2))
    ]
    assert all(out.shape == (0, 3, 2, 2) for out in outs)
    sum(out.sum() for out in outs).backward()
    assert maps.grad.abs().sum() == 0


@pytest.mark.parametrize(("bins", "scale"), [((2, 3), 0.5), ((4, 4), 1.0), ((3, 1), 0.31)])
def test_roi_pool_equals_a_plain_loop(device, bins, scale):
    boxes = [*BOXES, [0, 5.0, 5.0, 3.0, 7.0]]  # the last one has no width
    maps = random_maps(device).requires_grad_()
    expected = reference_roi_pool(maps.detach().cpu().numpy(), BOXES, bins, scale)
    rois = torch.tensor(boxes, dtype=torch.float64, device=device)
    out = roi_pool(maps, rois, bins, scale)
    np.testing.assert_allclose(out[:-1].detach().cpu(), expected, rtol=0, atol=0)
    assert out[-1].abs().sum() == 0
    assert torch.autograd.gradcheck(lambda m: roi_pool(m, rois, bins, scale), maps, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_roi_pool_published_values(device, dtype):
    # mmcv tests/test_ops/test_roi_pool.py
    corners = [[0.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
    grads = [np.ones((1, 2, 2)), np.ones((2, 2, 2)), np.array([corners])]
    for image, last, output, grad in zip(MAPS, LAST, [MAPS[0], MAPS[1], [[[4.0, 8], [12, 16]]]], grads):
        maps = torch.tensor([image], dtype=dtype, device=device, requires_grad=True)
        out = RoIPool((2, 2), 1.0)(maps, torch.tensor([[0.0, 0, 0, last, last]], dtype=dtype, device=device))
        out.sum().backward()
        assert out.tolist() == [output]
        np.testing.assert_array_equal(maps.grad[0].float().cpu(), grad)


def test_roi_pool_breaks_ties_at_the_first_pixel(device):
    maps = torch.ones(1, 1, 4, 4, dtype=torch.float64, device=device, requires_grad=True)
    roi_pool(maps, torch.tensor([[0, 0.0, 0, 3, 3]], dtype=torch.float64, device=device), (2, 2), 1.0).sum().backward()
    assert maps.grad[0, 0].nonzero().tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]
