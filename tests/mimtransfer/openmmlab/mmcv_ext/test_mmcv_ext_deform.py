import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, deform_conv2d, modulated_deform_conv2d
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

from mimtransfer.openmmlab.mmcv_ext import deform_conv
from mimtransfer.openmmlab.mmcv_ext.deform_attn import attend

# stride, padding, dilation, groups, deformable groups
LAYERS = [(1, 0, 1, 1, 1), (2, 1, 1, 2, 1), ((1, 2), (2, 1), (1, 2), 1, 2), (1, 1, 1, 2, 4)]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def reference(input, offset, mask, weight, stride, padding, dilation, groups, deform_groups):
    """Deformable convolution as one grid_sample per tap and deformable group, differentiable."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    batch, channels, height, width = input.shape
    kh, kw = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    rows = torch.arange(out_h, dtype=input.dtype, device=input.device)[:, None] * sh - ph
    columns = torch.arange(out_w, dtype=input.dtype, device=input.device) * sw - pw
    offset = offset.view(batch, deform_groups, kh, kw, 2, out_h, out_w)
    mask = mask.view(batch, deform_groups, kh, kw, 1, out_h, out_w)
    taps = []
    for i in range(kh):
        for j in range(kw):
            parts = []
            for g, part in enumerate(input.chunk(deform_groups, 1)):
                y, x = rows + i * dh + offset[:, g, i, j, 0], columns + j * dw + offset[:, g, i, j, 1]
                grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
                parts.append(F.grid_sample(part, grid, align_corners=False) * mask[:, g, i, j])
            taps.append(torch.cat(parts, 1))
    columns = torch.stack(taps, 2).view(batch, groups, channels // groups, kh * kw, out_h, out_w)
    weight = weight.view(groups, len(weight) // groups, channels // groups, kh * kw)
    return torch.einsum("goct,bgcthw->bgohw", weight, columns).flatten(1, 2)


def layer_tensors(device, layer, zero_offset=False):
    stride, padding, dilation, groups, deform_groups = layer
    generator = torch.Generator().manual_seed(0)
    out = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((6, 7), (3, 2), pair(stride), pair(padding), pair(dilation))
    ]
    shapes = dict(
        input=(2, 4, 6, 7),
        offset=(2, deform_groups * 12, *out),
        mask=(2, deform_groups * 6, *out),
        weight=(6, 4 // groups, 3, 2),
        bias=(6,),
    )
    tensors = {k: torch.randn(v, generator=generator, dtype=torch.float64).to(device) for k, v in shapes.items()}
    if zero_offset:
        tensors["offset"].zero_()
        tensors["mask"].fill_(1)
    return {k: v.requires_grad_() for k, v in tensors.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_zero_offsets_give_a_plain_convolution(device, layer):
    t = layer_tensors(device, layer, zero_offset=True)
    expected = F.conv2d(t["input"], t["weight"], None, *layer[:4])
    torch.testing.assert_close(deform_conv2d(t["input"], t["offset"], t["weight"], *layer), expected)
    modulated = modulated_deform_conv2d(t["input"], t["offset"], t["mask"], t["weight"], t["bias"], *layer)
    torch.testing.assert_close(modulated, expected + t["bias"][:, None, None])


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("version", [1, 2])
def test_values_and_gradients_equal_grid_sample(device, layer, version):
    t = layer_tensors(device, layer)
    if version == 1:
        names, mask = ("input", "offset", "weight"), torch.ones_like(t["mask"])
        out = deform_conv2d(t["input"], t["offset"], t["weight"], *layer)
        expected = reference(t["input"], t["offset"], mask, t["weight"], *layer)
    else:
        names = ("input", "offset", "mask", "weight", "bias")
        out = modulated_deform_conv2d(*(t[n] for n in names), *layer)
        expected = reference(t["input"], t["offset"], t["mask"], t["weight"], *layer) + t["bias"][:, None, None]
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    grads = torch.autograd.grad(out, [t[n] for n in names], weight)
    for name, grad, wanted in zip(names, grads, torch.autograd.grad(expected, [t[n] for n in names], weight)):
        torch.testing.assert_close(grad, wanted, msg=lambda m, name=name: f"{name}: {m}")


def test_gradcheck(device):
    t = layer_tensors(device, LAYERS[1])
    v1, v2 = (
        [t[n] for n in ("input", "offset", "weight")],
        [t[n] for n in ("input", "offset", "mask", "weight", "bias")],
    )
    assert torch.autograd.gradcheck(lambda *a: deform_conv2d(*a, *LAYERS[1]), v1, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *a: modulated_deform_conv2d(*a, *LAYERS[1]), v2, fast_mode=True)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("zero_offset", [False, True])
def test_deterministic_path_equals_the_kernel(device, layer, zero_offset, monkeypatch):
    t = layer_tensors(device, layer, zero_offset)
    names = ("input", "offset", "mask", "weight", "bias")
    outs, grads = [], []
    for deterministic in (False, True):
        monkeypatch.setattr(deform_conv, "must_be_deterministic", lambda tensor, d=deterministic: d)
        v1 = deform_conv2d(t["input"], t["offset"], t["weight"], *layer)
        v2 = modulated_deform_conv2d(*(t[n] for n in names), *layer)
        outs.append((v1, v2))
        grads.append(torch.autograd.grad((v1 * v1).sum() + (v2 * v2).sum(), [t[n] for n in names]))
    torch.testing.assert_close(outs[1], outs[0])
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_is_float32_rounded_once(device, dtype, tolerance):
    t = {k: v.detach().to(dtype).requires_grad_() for k, v in layer_tensors(device, LAYERS[1]).items()}
    wide = {k: v.detach().float().requires_grad_() for k, v in t.items()}
    names = ("input", "offset", "mask", "weight", "bias")
    out, expected = (modulated_deform_conv2d(*(x[n] for n in names), *LAYERS[1]) for x in (t, wide))
    assert torch.equal(out, expected.to(dtype))
    for grad, wanted in zip(
        *(torch.autograd.grad(o.sum(), [x[n] for n in names]) for o, x in ((out, t), (expected, wide)))
    ):
        torch.testing.assert_close(grad.float(), wanted, rtol=tolerance, atol=tolerance)


def test_published_values_v1(device):
    # mmcv tests/test_ops/test_deform_conv.py
    model = DeformConv2dPack(1, 1, kernel_size=2, stride=1, padding=0).to(device)
    offset_weight = [
        [0.1, 0.4, 0.6, 0.1],
        [0.3, 0.2, 0.1, 0.3],
        [0.5, 0.5, 0.2, 0.8],
        [0.8, 0.3, 0.9, 0.1],
        [0.3, 0.1, 0.2, 0.5],
        [0.3, 0.7, 0.5, 0.3],
        [0.6, 0.2, 0.5, 0.3],
        [0.4, 0.1, 0.8, 0.4],
    ]
    model.conv_offset.weight.data = torch.tensor(offset_weight, device=device).view(8, 1, 2, 2)
    model.conv_offset.bias.data = torch.tensor([0.7, 0.1, 0.8, 0.5, 0.6, 0.5, 0.4, 0.7], device=device)
    model.weight.data = torch.tensor([0.4, 0.2, 0.1, 0.9], device=device).view(1, 1, 2, 2)
    x = torch.tensor([[[[1.0, 2, 3], [0, 1, 2], [3, 5, 2]]]], device=device, requires_grad=True)
    out = model(x)
    out.sum().backward()
    grads = [x.grad, model.weight.grad, model.conv_offset.bias.grad, model.conv_offset.weight.grad[0]]
    expected = [
        [[[[-0.666, 0.204, 0], [0.030, -0.416, 0.012], [0, 0.252, 0.129]]]],
        [[[[3.62, 0], [0.40, 0.18]]]],
        [1.44, -0.72, 0, 0, -0.10, -0.08, -0.54, -0.54],
        [[[1.44, 2.88], [0, 1.44]]],
    ]
    np.testing.assert_allclose(out.detach().cpu(), [[[[1.65, 0], [0, 0]]]], atol=1e-6)
    for grad, wanted in zip(grads, expected):
        np.testing.assert_allclose(grad.cpu(), wanted, atol=1e-5)


def test_published_values_v2_at_initialisation(device):
    # mmcv tests/test_ops/test_modulated_deform_conv.py: zero offsets with padding lie on the kinks of the sampling
    model = ModulatedDeformConv2dPack(1, 1, kernel_size=(2, 2), stride=1, padding=1, deform_groups=1, bias=False).to(
        device
    )
    model.weight.data.fill_(1.0)
    x = torch.tensor([[[[1.0, 2, 3]] * 3]], device=device, requires_grad=True)
    out = model(x)
    out.sum().backward()
    rows = [[0.5, 1.5, 2.5, 1.5], [1, 3, 5, 3], [1, 3, 5, 3], [0.5, 1.5, 2.5, 1.5]]
    np.testing.assert_allclose(out.detach().cpu(), [[rows]], rtol=1e-6)
    np.testing.assert_allclose(x.grad.cpu(), np.full((1, 1, 3, 3), 2.0), rtol=1e-6)
    np.testing.assert_allclose(model.weight.grad.cpu(), np.full((1, 1, 2, 2), 9.0), rtol=1e-6)
    np.testing.assert_allclose(model.conv_offset.bias.grad.cpu(), [-3, -1.5] * 4 + [4.5] * 4, rtol=1e-6)
    offset_weight = [
        [-7, -4, 0, 0],
        [-9, 7.5, -6, 5],
        [-4, -7, 0, 0],
        [-7.5, -9, -5, -6],
        [-7, -4, -7, -4],
        [-6, 5, -9, 7.5],
        [-4, -7, -4, -7],
        [-5, -6, -7.5, -9],
        [10.5, 6, 7, 4],
        [6, 10.5, 4, 7],
        [7, 4, 10.5, 6],
        [4, 7, 6, 10.5],
    ]
    np.testing.assert_allclose(model.conv_offset.weight.grad.flatten(1).cpu(), offset_weight, atol=1e-5)


def attention_tensors(device):
    """B 2, heads 2, C 3, Q 4, levels of 6 x 4 and 3 x 2, P 3; some points outside their map."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([(6, 4), (3, 2)], device=device)
    value, locations, weights = (
        torch.rand(s, generator=generator, dtype=torch.float64)
        for s in ((2, 30, 2, 3), (2, 4, 2, 2, 3, 2), (2, 4, 2, 2, 3))
    )
    floats = [t.to(device).requires_grad_() for t in (value, 1.4 * locations - 0.2, weights)]
    return shapes, torch.tensor([0, 24], device=device), *floats


@pytest.mark.parametrize("deterministic", [False, True])
def test_attention_equals_mmcv_in_torch(device, deterministic, monkeypatch):
    from mimtransfer.openmmlab.mmcv_ext import deform_attn

    monkeypatch.setattr(deform_attn, "must_be_deterministic", lambda tensor: deterministic)
    shapes, starts, value, locations, weights = attention_tensors(device)
    out = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    expected = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-14)
    grad = torch.randn_like(out)
    leaves = (value, locations, weights)
    torch.testing.assert_close(torch.autograd.grad(out, leaves, grad), torch.autograd.grad(expected, leaves, grad))


def test_attention_gradcheck(device):
    shapes, starts, value, locations, weights = attention_tensors(device)
    assert torch.autograd.gradcheck(
        lambda v, p, w: MultiScaleDeformableAttnFunction.apply(v, shapes, starts, p, w, 64), (value, locations, weights)
    )


def test_layers_and_gradients_read_the_sizes_of_the_levels_once(device, monkeypatch):
    shapes, starts, value, locations, weights = attention_tensors(device)
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(tensor) or tolist(tensor))
    for _ in range(3):
        out = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
        out.sum().backward()
    assert len(reads) == 1
    before = out.detach().clone()
    shapes.copy_(shapes.flip(0))  # as many cells in all, cut elsewhere
    out = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    assert len(reads) == 2 and not torch.equal(out, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_in_half_precision_is_float32_rounded_once(device, dtype):
    shapes, starts, *floats = attention_tensors(device)
    narrow = [t.detach().to(dtype) for t in floats]
    out = MultiScaleDeformableAttnFunction.apply(narrow[0], shapes, starts, *narrow[1:], 64)
    expected = attend(narrow[0].float(), shapes, *(t.float() for t in narrow[1:]), deterministic=False)
    assert torch.equal(out, expected.to(dtype))


def attend_by_function(value, shapes, starts, points, weights):
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, points, weights, 64)


def attend_in_torch(value, shapes, starts, points, weights):
    return multi_scale_deformable_attn_pytorch(value, shapes, points, weights)


@pytest.mark.parametrize("attention", [attend_by_function, attend_in_torch])
@pytest.mark.parametrize("autocast", [False, True])
def test_points_stay_in_float32_with_values_in_bf16(device, attention, autocast):
    # A ramp over 128 columns, in 8 channels of 16 cells each, so that bf16 holds each value to 1/16 of a cell.
    columns = torch.arange(128)
    ramp = (columns[:, None] - 16 * torch.arange(8)).clamp(0, 16).float()  # [W, C]
    value = ramp.expand(1, 4, 128, 8).reshape(1, 4 * 128, 1, 8).to(device, torch.bfloat16).requires_grad_()
    points = torch.rand(1, 500, 1, 1, 1, 2, generator=torch.Generator().manual_seed(0)).to(device)
    points = (0.2 + 0.6 * points).requires_grad_()  # nowhere near the zeros around the map
    weights = torch.ones(1, 500, 1, 1, 1, device=device, dtype=torch.bfloat16)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=autocast):
        shapes, starts = torch.tensor([[4, 128]], device=device), torch.tensor([0], device=device)
        out = attention(value, shapes, starts, points, weights)
    assert out.dtype == torch.bfloat16
    seen = out.float().sum(-1)[0]  # the column where each point lies
    wanted = points[0, :, 0, 0, 0, 0] * 128 - 0.5
    assert (seen - wanted).abs().max() < 0.04  # half a step of bf16 below 16 is 1/32; other channels are exact
    grad_value, grad_points = torch.autograd.grad(out.float().sum(), (value, points))
    assert grad_value.dtype == torch.bfloat16 and grad_points.dtype == torch.float32
    # A cell to the right adds 1, wherever the point lies.
    torch.testing.assert_close(grad_points[..., 0], torch.full_like(grad_points[..., 0], 128.0))


def test_the_module_of_mmcv_attends_at_the_same_points_in_bf16(device):
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(embed_dims=8, num_heads=1, num_levels=1, batch_first=True).to(device).eval()
    with torch.no_grad():  # values as they come; the offsets at the start are 1 to 4 cells, which bf16 holds
        layer.value_proj.weight.copy_(torch.eye(8))
        layer.output_proj.weight.copy_(torch.eye(8))
    value = torch.randint(0, 16, (1, 4 * 128, 8), device=device).float()
    query = torch.zeros(1, 300, 8, device=device)
    common = dict(value=value, identity=torch.zeros_like(query), reference_points=torch.rand(1, 300, 1, 2).to(device),
                  spatial_shapes=torch.tensor([[4, 128]], device=device),
                  level_start_index=torch.tensor([0], device=device))
    exact = layer(query, **common)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        rounded = layer(query, **common)
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0)
