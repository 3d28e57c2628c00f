"""BlockView: attention, keys and tokens against a plain float64 ViT, and nothing computed that was not asked for."""
import numpy as np
import pytest
import torch
from reference_vit import reference_blocks, tiny_vit
from timm.layers import Attention
from torch.utils._python_dispatch import TorchDispatchMode

from mimtransfer.backbones.inspect import view_block, view_blocks
from mimtransfer.backbones.swin import TimmSwin
from mimtransfer.errors import UserError

VARIANTS = {
    "class-token": {},
    "registers": dict(model_kwargs=dict(reg_tokens=2)),
    "qk-norm": dict(model_kwargs=dict(qk_norm=True)),
    "reg4-layer-scale": dict(arch="vit_small_patch14_reg4_dinov2"),
}
EVERY_VARIANT = pytest.mark.parametrize("variant", list(VARIANTS))
FUSED_OR_NOT = pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])


def vit_and_images(variant="class-token", fused=True):
    vit = tiny_vit(**VARIANTS[variant])
    for block in vit.blocks:
        block.attn.fused_attn = fused
    return vit, torch.randn(2, 3, 24, 40)


@torch.no_grad()
@EVERY_VARIANT
@FUSED_OR_NOT
def test_every_block_equals_the_float64_reference(variant, fused):
    vit, images = vit_and_images(variant, fused)
    first = vit.num_prefix_tokens
    assert first == {"class-token": 1, "registers": 3, "qk-norm": 1, "reg4-layer-scale": 5}[variant]
    for found, expected in zip(view_blocks(vit, images), reference_blocks(vit, images), strict=True):
        assert expected.attention.max() > 5 * expected.attention.mean()  # worth comparing
        np.testing.assert_allclose(found.attention.numpy(), expected.attention, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(found.class_attention.numpy(), expected.attention[:, :, 0, first:], rtol=1e-5)
        np.testing.assert_allclose(found.tokens.numpy(), expected.tokens, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(found.keys.numpy(), expected.keys[:, first:], rtol=1e-5, atol=2e-5)
        assert (found.grid, found.num_prefix_tokens, found.num_heads) == ((3, 5), first, 3)


@torch.no_grad()
@EVERY_VARIANT
def test_the_last_block_s_tokens_are_what_encode_normalises(variant):
    vit, images = vit_and_images(variant)
    encoded = vit.encode(vit.add_position(vit.embed(images), (3, 5)))
    assert torch.equal(vit.norm(view_block(vit, images).tokens), encoded)
    blocks = list(view_blocks(vit, images))
    for number in (0, 1, -1, -2):
        assert torch.equal(view_block(vit, images, number).tokens, blocks[number].tokens)
    with pytest.raises(IndexError):
        view_block(vit, images, 2)


class Outputs(TorchDispatchMode):
    """Count operations and remember the shapes of what they return."""

    def __init__(self):
        super().__init__()
        self.names, self.shapes = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        self.names.append(func.overloadpacket.__name__)
        self.shapes += [tuple(o.shape) for o in (out if isinstance(out, (tuple, list)) else [out])
                        if isinstance(o, torch.Tensor)]
        return out

    def count(self, name):
        return sum(name in found for found in self.names)

    def square(self, n):
        """Count the results [..., n, n]."""
        return sum(shape[-2:] == (n, n) for shape in self.shapes)


def outputs_of(read, vit, images, block=-1):
    seen, mlps = Outputs(), []
    hooks = [b.mlp.register_forward_hook(lambda module, inputs, output: mlps.append(module)) for b in vit.blocks]
    with torch.inference_mode(), seen:
        read(view_block(vit, images, block))
    for hook in hooks:
        hook.remove()
    return seen, len(mlps)


def test_only_the_asked_for_attention_is_computed():
    vit, images = vit_and_images("registers")
    num_tokens = 18
    seen, mlps = outputs_of(lambda found: found.class_attention, vit, images)
    assert seen.square(num_tokens) == 0  # one row only, and the first block is fused
    assert (seen.count("scaled_dot_product"), seen.count("softmax"), mlps) == (1, 1, 1)

    seen, mlps = outputs_of(lambda found: (found.attention, found.attention), vit, images)
    assert seen.square(num_tokens) > 0
    assert (seen.count("scaled_dot_product"), seen.count("softmax"), mlps) == (1, 1, 1)

    seen, mlps = outputs_of(lambda found: (found.tokens, found.tokens), vit, images)
    assert (seen.square(num_tokens), seen.count("scaled_dot_product"), mlps) == (0, 2, 2)

    seen, mlps = outputs_of(lambda found: found.keys, vit, images, block=0)
    assert (seen.square(num_tokens), seen.count("scaled_dot_product"), mlps) == (0, 0, 0)


def results(found):
    return found.class_attention, found.attention, found.keys, found.tokens


@EVERY_VARIANT
def test_under_bfloat16_autocast_results_are_float32(variant):
    vit, images = vit_and_images(variant)
    with torch.inference_mode():
        exact = results(view_block(vit, images))
        with torch.autocast("cpu", torch.bfloat16):
            rough = view_block(vit, images)
            results(rough)
    for got, expected in zip(results(rough), exact):
        assert got.dtype == torch.float32
        assert 0 < (got - expected).norm() < 0.05 * expected.norm()
    # Rounding of products or of the softmax would leave a thousandth.
    torch.testing.assert_close(rough.attention.sum(-1), torch.ones(2, 3, rough.attention.shape[2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rough.attention[:, :, 0, rough.num_prefix_tokens:], rough.class_attention,
                               atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_relative_position_bias_is_part_of_the_attention():
    vit, images = tiny_vit(rel_pos="bias"), torch.randn(2, 3, 24, 40)
    found = view_block(vit, images, 1)
    normed = vit.blocks[1].norm1(view_block(vit, images, 0).tokens)
    attn = vit.blocks[1].attn
    v = attn.qkv(normed).chunk(3, dim=-1)[2].unflatten(2, (3, 16)).transpose(1, 2)
    attended = attn.proj((found.attention @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attended, attn(normed, grid=(3, 5)))
    assert (attended - Attention.forward(attn, normed)).abs().max() > 0.1  # without the bias
    torch.testing.assert_close(found.class_attention, found.attention[:, :, 0, 1:])
    map_ = vit.norm(found.tokens)[:, 1:].transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(map_, vit(images)[0])


@torch.no_grad()
def test_another_grid_than_the_position_embedding_s():
    vit, images = tiny_vit(), torch.randn(1, 3, 48, 16)
    found = view_block(vit, images)
    assert found.grid == (6, 2)
    assert torch.equal(vit.norm(found.tokens), vit.encode(vit.add_position(vit.embed(images), (6, 2))))


@pytest.mark.parametrize("options, message", [
    (dict(window_size=2, global_blocks=(1,)), "attention maps of the whole image do not exist in blocks with windows"),
    (dict(rel_pos="decomposed"), "attention maps of the whole image do not exist in blocks with windows"),
    (dict(arch="vit_base_patch16_rpn_224"), "need timm's plain Block, got ResPostBlock"),
    (dict(arch="vit_small_patch16_18x2_224"), "need timm's plain Block, got ParallelThingsBlock"),
], ids=["windows", "decomposed", "norm-behind", "parallel"])
def test_blocks_that_cannot_be_looked_into_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        view_block(tiny_vit(**options), torch.zeros(1, 3, 24, 40))


@torch.no_grad()
def test_class_attention_needs_a_class_token():
    for kwargs in (dict(class_token=False), dict(class_token=False, reg_tokens=2)):
        found = view_block(tiny_vit(model_kwargs=kwargs), torch.randn(1, 3, 24, 40))
        with pytest.raises(UserError, match="the encoder has no class token"):
            print(found.class_attention)
        assert found.keys.shape == (1, 15, 48)


def test_only_a_plain_vit_is_probed():
    swin = TimmSwin("swin_tiny_patch4_window7_224", img_size=64, window_size=4,
                    model_kwargs=dict(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4)))
    with pytest.raises(UserError, match="attention maps need a plain ViT, got TimmSwin"):
        view_block(swin, torch.zeros(1, 3, 64, 64))
