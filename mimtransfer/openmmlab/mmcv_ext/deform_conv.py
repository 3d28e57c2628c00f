"""Deformable convolution v1 (Dai et al. 2017, arXiv:1703.06211) and v2 (Zhu et al. 2018, arXiv:1811.11168).

Names and arguments are those of `mmcv._ext`. torchvision's kernels hold the same channel order: offsets
[B, G * 2 * kh * kw, h, w] as (y, x) pairs per tap, masks (v2) [B, G * kh * kw, h, w], G deformable groups. Under
deterministic algorithms on CUDA, `deform_conv2d` below does it with autograd.
"""
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import kernel, must_be_deterministic, sample_zero_padded, widen


def _points(offset: Tensor, kernel_w: int, stride: tuple, pad: tuple, dilation: tuple, groups: int) -> list[Tensor]:
    """Return where the taps read, y and x in pixels, each [B * G, taps, h, w]; the tuples are in order y, x."""
    offset = offset.reshape(len(offset) * groups, -1, 2, *offset.shape[2:])
    tap = torch.arange(offset.shape[1], device=offset.device)[:, None, None]
    row = torch.arange(offset.shape[3], device=offset.device)[:, None]
    column = torch.arange(offset.shape[4], device=offset.device)
    y = row * stride[0] - pad[0] + tap // kernel_w * dilation[0]
    x = column * stride[1] - pad[1] + tap % kernel_w * dilation[1]
    return [start + offset[:, :, axis] for axis, start in enumerate((y, x))]


def deform_conv2d(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    deform_groups: int,
    use_mask: bool,
) -> Tensor:
    """Return what `torch.ops.torchvision.deform_conv2d` returns for the same arguments, deterministic on CUDA."""
    batch, channels = input.shape[:2]
    out_h, out_w = offset.shape[2:]
    sizes = (weight.shape[3], (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w), deform_groups)
    y, x = _points(offset, *sizes)
    maps = input.reshape(batch * deform_groups, channels // deform_groups, *input.shape[2:])
    columns = sample_zero_padded(maps, y.flatten(1), x.flatten(1))  # [B * G, taps * h * w, C / G]
    if use_mask:
        columns = columns * mask.reshape(batch * deform_groups, -1, 1)
    columns = columns.transpose(1, 2).reshape(batch, groups, -1, out_h * out_w)
    out = weight.view(groups, weight.shape[0] // groups, -1) @ columns  # [B, groups, out / groups, h * w]
    return out.view(batch, -1, out_h, out_w) + bias[:, None, None]


def _forward(input: Tensor, *args) -> Tensor:
    run = deform_conv2d if must_be_deterministic(input) else torch.ops.torchvision.deform_conv2d
    return run(input, *args)


def _backward(grad: Tensor, *args) -> Sequence[Any]:
    """Return the gradients of input, weight, offset, mask (None when unused) and bias; `args` as in `deform_conv2d`."""
    if must_be_deterministic(grad):
        leaves = [t.detach().requires_grad_() for t in args[:5]]
        with torch.enable_grad():
            out = deform_conv2d(*leaves, *args[5:])
        grads = list(torch.autograd.grad(out, leaves, grad, allow_unused=True))
    else:
        grads = list(torch.ops.torchvision._deform_conv2d_backward(grad, *args))
    # One pixel outside the map the value has a kink, and zero offsets with padding start there. mmcv stops the gradient
    # of such a point; torchvision takes the slope of the inner side.
    (height, width), sizes = args[0].shape[2:], args[5:]
    y, x = _points(args[2], args[1].shape[3], sizes[0:2], sizes[2:4], sizes[4:6], sizes[7])
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    grads[2] = grads[2] * torch.stack([inside, inside], dim=2).view_as(grads[2])
    return grads


def _v1(input: Tensor, weight: Tensor, offset: Tensor, *sizes: int) -> tuple:
    """Return the arguments of `deform_conv2d` for a convolution without mask and bias."""
    input = widen(input)
    mask, bias = input.new_zeros(len(input), 1), input.new_zeros(len(weight))
    return input, widen(weight), widen(offset), mask, bias, *sizes, False


def _v2(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, with_bias: bool, *sizes: int
) -> tuple:
    """Return the arguments of `deform_conv2d` for a modulated convolution; `bias` is empty when there is none."""
    input = widen(input)
    bias = widen(bias) if with_bias else input.new_zeros(len(weight))
    return input, widen(weight), widen(offset), widen(mask), bias, *sizes, True


@kernel
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `output` [B, out, h, w]. In all ops below `columns`, `ones`, `im2col_step` are work space, unused here."""
    args = _v1(input, weight, offset, dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(*args))


@kernel
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill the gradients of input and offset."""
    args = _v1(input, weight, offset, dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grad_input, _, grad_offset, _, _ = _backward(widen(gradOutput), *args)
    gradInput.copy_(grad_input)
    gradOffset.copy_(grad_offset)


@kernel
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add `scale` times the gradient of the weight.

    torchvision has one kernel for all gradients, so the backward of v1 pays for it twice; that of v2 does not.
    """
    args = _v1(input, gradWeight, offset, dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    gradWeight.add_(_backward(widen(gradOutput), *args)[1], alpha=scale)


@kernel
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill `output` [B, out, h, w]."""
    sizes = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_forward(*_v2(input, weight, offset, mask, bias, with_bias, *sizes)))


@kernel
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the gradients of input, weight, offset, mask and, when there is one, bias."""
    sizes = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    grads = _backward(widen(grad_output), *_v2(input, weight, offset, mask, bias, with_bias, *sizes))
    filled = (grad_input, grad_weight, grad_offset, grad_mask) + ((grad_bias,) if with_bias else ())
    for into, grad in zip(filled, grads):
        into.copy_(grad)
