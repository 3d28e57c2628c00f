"""Our stand-in for the operators of mmcv, on the device: what float64 on the CPU gives."""
import pytest
import torch
from mmcv_stand_in import stand_in_behind_mmcv

from mimtransfer.training.precision import full_fp32


@pytest.fixture(scope="module", autouse=True)
def ours():
    with stand_in_behind_mmcv():
        yield


def numbers(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def both(function, tensors, device):
    """Return the output and the gradients of float32 on the device and of float64 on the CPU; integers stay."""
    results = []
    for place, dtype in ((device, torch.float32), ("cpu", torch.float64)):
        inputs = [t.to(place, dtype).requires_grad_() if t.is_floating_point() else t.to(place) for t in tensors]
        with full_fp32():
            output = function(*inputs)
            output.square().sum().backward()
        parts = [output, *(t.grad for t in inputs if t.requires_grad and t.grad is not None)]
        results.append([part.detach().cpu().double() for part in parts])
    return zip(*results, strict=True)


def boxes_on(size, number):
    corner = numbers(number, 2) * size / 2
    return torch.cat([corner, corner + 1 + numbers(number, 2, seed=1) * size / 2], 1)


def roi_align(maps, boxes):
    from mmcv.ops import roi_align

    images = torch.arange(len(boxes), device=boxes.device)[:, None] % len(maps)
    return roi_align(maps, torch.cat([images.to(boxes), boxes], 1).detach(), 7, 0.5, 0, "avg", True)


def deformable_attention(value, locations, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[6, 5], [3, 2]], device=value.device)
    starts = torch.tensor([0, 30], device=value.device)
    weights = weights.flatten(3).softmax(-1).view_as(weights)
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)


def deformable_convolution(maps, offset, mask, weight):
    from mmcv.ops import modulated_deform_conv2d

    return modulated_deform_conv2d(maps, offset * 2 - 1, mask, weight, None, 1, 1, 1, 1, 1)


def focal_loss(scores, labels):
    from mmcv.ops import sigmoid_focal_loss

    return sigmoid_focal_loss(scores * 4 - 2, labels, 2.0, 0.25, None, "none")


CASES = {
    "roi_align": (roi_align, lambda: [numbers(2, 3, 16, 16), boxes_on(32, 6)]),
    "deformable attention": (deformable_attention, lambda: [
        numbers(2, 36, 4, 8), numbers(2, 9, 4, 2, 3, 2, seed=1) * 0.9 + 0.05, numbers(2, 9, 4, 2, 3, seed=2)]),
    "deformable convolution": (deformable_convolution, lambda: [
        numbers(2, 4, 8, 8), numbers(2, 18, 8, 8, seed=1), numbers(2, 9, 8, 8, seed=2), numbers(6, 4, 3, 3, seed=3)]),
    "focal loss": (focal_loss, lambda: [numbers(20, 5), torch.arange(20) % 6]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients(name, device):
    function, inputs = CASES[name]
    for found, expected in both(function, inputs(), device):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_keeps_the_same_boxes_of_each_class(threshold, device):
    from mmcv.ops import batched_nms

    boxes, scores, classes = boxes_on(60, 300).float(), numbers(300, seed=3).float(), torch.arange(300) % 5
    settings = dict(type="nms", iou_threshold=threshold)
    expected, kept = batched_nms(boxes, scores, classes, settings)
    found, own = batched_nms(boxes.to(device), scores.to(device), classes.to(device), settings)
    assert own.cpu().tolist() == kept.tolist() and torch.equal(found.cpu(), expected) and 20 < len(kept) < 290
