"""Relative positions by FlexAttention are those in the dot product: values and gradients on the CPU, shapes on CUDA."""
import pytest
import torch
import torch._dynamo
from timm.layers import Attention
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.flex_attention import flex_attention

from mimtransfer.backbones import TimmViT, attention, flex

GRIDS = {"of the tables": (5, 7), "resampled": (4, 9)}


def decomposed(**kwargs):
    torch.manual_seed(0)
    layer = attention.DecomposedAttention(Attention(48, num_heads=3, qkv_bias=True), (5, 7), **kwargs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.3)
    return layer


@pytest.fixture
def on_cpu(monkeypatch):
    """Let the CPU do what a GPU would."""
    monkeypatch.setattr(attention, "suits_flex", lambda q, training, dropout: training and not dropout)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_outputs_are_those_of_the_dot_product(grid, on_cpu):
    layer, x = decomposed(), torch.randn(2, grid[0] * grid[1], 48)
    with torch.no_grad():
        torch.testing.assert_close(layer.train()(x, grid), layer.eval()(x, grid), atol=1e-5, rtol=0)


def test_maps_of_vitdet_are_the_same(on_cpu):
    torch.manual_seed(0)
    vit = TimmViT(img_size=64, patch_size=8, window_size=3, global_blocks=(1,), rel_pos="decomposed",
                  model_kwargs=dict(embed_dim=32, depth=2, num_heads=2))
    with torch.no_grad():
        for block in vit.blocks:
            block.attn.rel_pos_h.normal_()
            block.attn.rel_pos_w.normal_()
        images = torch.randn(1, 3, 48, 72)
        (got,), (expected,) = vit.train()(images), vit.eval()(images)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def whole_scores(q, k, v, rows, columns, scale):
    """Apply the score's function to a matrix of all scores, which FlexAttention has no backward for on a CPU."""
    images, heads, queries, keys = torch.meshgrid(*map(torch.arange, (*q.shape[:3], k.shape[2])), indexing="ij")
    scores = flex.relative_score(rows, columns)(q @ k.transpose(2, 3) * scale, images, heads, queries, keys)
    return scores.softmax(-1) @ v


def test_gradients_are_those_of_the_dot_product(on_cpu, monkeypatch):
    monkeypatch.setattr(attention, "attend_flex", whole_scores)
    layer, x, grid = decomposed().double(), torch.randn(2, 35, 48, dtype=torch.float64), (5, 7)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    grads = []
    for training in (True, False):
        layer.zero_grad()
        layer.train(training)(x, grid).square().sum().backward()
        grads.append({name: parameter.grad.clone() for name, parameter in layer.named_parameters()})
    assert grads[0]["rel_pos_h"].abs().max() > 1e-2
    torch.testing.assert_close(*grads, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("grid, training, kwargs, uses", [
    ((5, 7), True, {}, True),
    ((5, 7), False, {}, False),  # sizes of evaluation vary
    ((5, 7), True, dict(flex_attention=False), False),
    ((10, 14), True, dict(window_size=5), False),  # a window widens heads little
])
def test_only_training_of_global_blocks_on_cuda_uses_it(grid, training, kwargs, uses, monkeypatch):
    monkeypatch.setattr(flex, "_HAS_GRADIENTS", True)
    calls = []

    def attend(q, k, v, rows, columns, scale):
        calls.append((tuple(q.shape), tuple(rows.shape), tuple(columns.shape), rows.dtype))
        return torch.empty_like(q)

    monkeypatch.setattr(attention, "attend_flex", attend)
    with FakeTensorMode(), torch.device("cuda"):
        layer = attention.DecomposedAttention(Attention(48, num_heads=3), (5, 7), **kwargs).train(training)
        y = layer(torch.empty(2, grid[0] * grid[1], 48), grid)
    assert y.shape == (2, grid[0] * grid[1], 48) and y.device.type == "cuda"
    assert calls == [((2, 3, 35, 16), (2, 3, 35, 5), (2, 3, 35, 7), torch.float32)] * uses
    assert not decomposed()(torch.zeros(1, 35, 48), (5, 7)).is_cuda and len(calls) == uses  # never on a CPU


@pytest.mark.parametrize("width, torch_has, dropout", [(80, True, 0.0), (64, False, 0.0), (64, True, 0.1)])
def test_what_flex_cannot_do_stays_as_it_was(width, torch_has, dropout, monkeypatch):
    monkeypatch.setattr(flex, "_HAS_GRADIENTS", torch_has)
    with FakeTensorMode():
        assert not flex.suits_flex(torch.empty(1, 2, 2, 3, width, device="cuda"), True, dropout)


def test_other_terms_compile_no_other_kernel():
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(flex_attention, dynamic=False, backend=counter)
    for seed in range(3):
        torch.manual_seed(seed)
        q, k, v = torch.randn(3, 1, 2, 12, 16)
        rows, columns = torch.randn(1, 2, 12, 3), torch.randn(1, 2, 12, 4)
        got = compiled(q, k, v, score_mod=flex.relative_score(rows, columns), scale=0.25)
        torch.testing.assert_close(got, whole_scores(q, k, v, rows, columns, 0.25), atol=1e-5, rtol=0)
    assert counter.frame_count == 1
