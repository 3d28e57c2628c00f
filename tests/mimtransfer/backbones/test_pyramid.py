"""SimpleFeaturePyramid against the paper's description written out, and LN2d as mmcv finds it."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope, Registry

from mimtransfer.backbones import SimpleFeaturePyramid
from mimtransfer.backbones.pyramid import BatchNormMaps
from mimtransfer.errors import UserError


def channel_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    mean = x.mean(dim=1, keepdim=True)
    variance = (x - mean).square().mean(dim=1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * weight[:, None, None] + bias[:, None, None]


def test_equals_the_paper_written_out() -> None:
    torch.manual_seed(0)
    pyramid = SimpleFeaturePyramid(in_channels=16, out_channels=8).double()
    with torch.no_grad():
        for parameter in pyramid.parameters():
            parameter.normal_()
    state = pyramid.state_dict()
    x = torch.randn(2, 16, 6, 10, dtype=torch.float64)

    def deconv(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return channel_norm(x, state[f"{name}.weight"], state[f"{name}.bias"])

    resized = [
        deconv(F.gelu(norm(deconv(x, "levels.0.resize.0"), "levels.0.resize.1")), "levels.0.resize.3"),
        deconv(x, "levels.1.resize"),
        x,
        F.max_pool2d(x, 2),
    ]
    expected = []
    for i, y in enumerate(resized):
        y = norm(F.conv2d(y, state[f"levels.{i}.lateral.weight"]), f"levels.{i}.lateral_norm")
        expected.append(norm(F.conv2d(y, state[f"levels.{i}.output.weight"], padding=1), f"levels.{i}.output_norm"))
    expected.append(expected[-1][..., ::2, ::2])

    outputs = pyramid((x,))
    assert isinstance(outputs, tuple)
    assert [tuple(y.shape[1:]) for y in outputs] == [(8, 24, 40), (8, 12, 20), (8, 6, 10), (8, 3, 5), (8, 2, 3)]
    for ours, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("shape", [(1, 7), (6, 1), (1, 1)])
def test_one_row_of_patches_is_not_halved_to_nothing(shape):
    x = torch.randn(1, 16, *shape)
    maps = SimpleFeaturePyramid(in_channels=16, out_channels=8)((x,))
    assert [tuple(y.shape[2:]) for y in maps[2:]] == [shape, tuple((s + 1) // 2 for s in shape),
                                                      tuple((s + 3) // 4 for s in shape)]


def test_every_parameter_of_the_pyramid_is_known_and_used() -> None:
    pyramid = SimpleFeaturePyramid(in_channels=16, out_channels=8)
    sum(y.square().sum() for y in pyramid((torch.randn(1, 16, 4, 4),))).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())
    biases = [name for name, _ in pyramid.named_parameters() if name.endswith(".bias") and "norm" not in name]
    assert biases == [
        "levels.0.resize.0.bias",
        "levels.0.resize.1.bias",
        "levels.0.resize.3.bias",
        "levels.1.resize.bias",
    ]


def test_mistakes_are_one_line() -> None:
    with pytest.raises(UserError, match=r"4, 2, 1 or 0\.5, got 3"):
        SimpleFeaturePyramid(16, scale_factors=(3,))
    with pytest.raises(UserError, match="num_outs=2"):
        SimpleFeaturePyramid(16, num_outs=2)
    with pytest.raises(UserError, match="takes one map, got 2"):
        SimpleFeaturePyramid(16)((torch.zeros(1, 16, 4, 4),) * 2)


@pytest.mark.parametrize("name", ["LN2d", "mimtransfer.LN2d"])
def test_mmcv_builds_ln2d_from_another_default_scope(name: str) -> None:
    scope = "scope_of_test_pyramid"
    if scope not in MMENGINE_MODELS.children:
        Registry("model", parent=MMENGINE_MODELS, scope=scope)
    with DefaultScope.overwrite_default_scope(scope):
        module = ConvModule(4, 6, 3, padding=1, norm_cfg={"type": name, "eps": 1e-6}, act_cfg=None)
    assert module.norm_name == "ln" and module.conv.bias is None
    with torch.no_grad():
        module.norm.weight.normal_()
        module.norm.bias.normal_()
    x = torch.randn(2, 4, 5, 7)
    expected = channel_norm(F.conv2d(x, module.conv.weight, padding=1), module.norm.weight, module.norm.bias)
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)


def test_config_builds_the_neck_in_any_scope() -> None:
    neck = MMENGINE_MODELS.build(
        {"type": "mimtransfer.SimpleFeaturePyramid", "in_channels": 16, "out_channels": 4, "num_outs": 4}
    )
    assert isinstance(neck, SimpleFeaturePyramid) and len(neck((torch.zeros(1, 16, 4, 4),))) == 4


def test_norms_of_maps_are_the_batch_norm_of_all_maps_side_by_side() -> None:
    """As DINOv2's linear head has it, in training and in evaluation."""
    torch.manual_seed(0)
    maps = [torch.randn(4, channels, 3, 5) * scale + scale for channels, scale in ((6, 1.0), (8, 100.0))]
    neck, reference = BatchNormMaps([6, 8]), torch.nn.BatchNorm2d(14)
    for _ in range(2):
        torch.testing.assert_close(torch.cat(neck(maps), dim=1), reference(torch.cat(maps, dim=1)))
        neck.eval()
        reference.eval()
    with pytest.raises(UserError, match="2 maps, got 1"):
        neck(maps[:1])
    with pytest.raises(UserError, match=r"channels=\[6, 8\], got maps of \[8, 6\]"):
        neck(maps[::-1])
