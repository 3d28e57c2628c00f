"""Windows and relative positions of TimmViT against timm's SAM and BEiT on the same weights."""

from fnmatch import fnmatch

import pytest
import torch
from timm.layers import LayerNorm
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from timm.models import beit
from timm.models.vision_transformer import Attention, Block
from timm.models.vision_transformer_sam import VisionTransformerSAM

from mimtransfer.backbones import TimmViT
from mimtransfer.backbones.attention import BiasAttention, GridBlock
from mimtransfer.errors import UserError

WIDTH = {"embed_dim": 32, "depth": 3, "num_heads": 2}


def randomized(vit: TimmViT) -> TimmViT:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return vit.eval()


def sam_twin(vit: TimmViT, **kwargs: object) -> VisionTransformerSAM:
    twin = VisionTransformerSAM(
        img_size=vit.img_size[0],
        patch_size=vit.patch_size[0],
        num_classes=0,
        neck_chans=0,
        norm_layer=LayerNorm,
        **WIDTH,
        **kwargs,
    ).eval()
    state = {name: value for name, value in vit.state_dict().items() if not name.startswith(("cls_token", "norm."))}
    state["pos_embed"] = state["pos_embed"][:, 1:].reshape(1, *vit.grid_size, -1)
    left = twin.load_state_dict(state, strict=False)
    assert left.unexpected_keys == [] and all(name.startswith("neck.") for name in left.missing_keys)
    return twin


@pytest.mark.parametrize(
    ("height", "width", "rel_pos"),
    [
        (224, 224, None),
        (96, 160, None),
        (224, 224, "decomposed"),
        (96, 160, "decomposed"),
        (512, 320, "decomposed"),
        (1024, 1024, "decomposed"),
    ],
)
def test_vitdet_equals_timm_sam(height: int, width: int, rel_pos: str | None) -> None:
    vit = randomized(
        TimmViT(
            window_size=5,
            global_blocks=(-2,),
            rel_pos=rel_pos,
            out_indices=(0, 1, 2),
            final_norm=False,
            model_kwargs=WIDTH,
        )
    )
    twin = sam_twin(vit, window_size=5, global_attn_indexes=(1,), use_rel_pos=rel_pos is not None)
    images = torch.randn(1, 3, height, width)
    with torch.no_grad():
        ours, theirs = vit(images), twin.forward_intermediates(images, indices=[0, 1, 2], intermediates_only=True)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=0)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_gradients_of_vitdet_equal_timm_sam(qkv_bias: bool) -> None:
    """Windows cut by both edges: the padding's keys and values give qkv.bias a gradient of their own."""
    vit = randomized(
        TimmViT(
            window_size=5,
            global_blocks=(1,),
            rel_pos="decomposed",
            final_norm=False,
            model_kwargs=dict(WIDTH, qkv_bias=qkv_bias),
        )
    ).double()
    twin = sam_twin(vit, window_size=5, global_attn_indexes=(1,), use_rel_pos=True, qkv_bias=qkv_bias).double()
    images = torch.randn(2, 3, 96, 208, dtype=torch.float64)
    vit(images)[0].square().sum().backward()
    twin.forward_intermediates(images, intermediates_only=True)[-1].square().sum().backward()
    theirs = dict(twin.named_parameters())
    for name, parameter in vit.blocks.named_parameters(prefix="blocks"):
        # Both resample the position embedding in float32.
        assert (parameter.grad - theirs[name].grad).abs().max() <= 1e-5 * theirs[name].grad.abs().max(), name


def test_decomposed_without_windows_equals_timm_sam() -> None:
    vit = randomized(
        TimmViT(img_size=(64, 96), rel_pos="decomposed", final_norm=False, model_kwargs=dict(WIDTH, qk_norm=True))
    )
    square = randomized(
        TimmViT(img_size=96, rel_pos="decomposed", final_norm=False, model_kwargs=dict(WIDTH, qk_norm=True))
    )
    twin = sam_twin(square, window_size=0, use_rel_pos=True, qk_norm=True)
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(
        square(images)[0], twin.forward_intermediates(images, intermediates_only=True)[-1], atol=1e-5, rtol=0
    )
    assert vit.blocks[0].attn.rel_pos_h.shape == (7, 16) and vit.blocks[0].attn.rel_pos_w.shape == (11, 16)


def test_options_of_transfer_only_add_names() -> None:
    plain = TimmViT(model_kwargs=WIDTH).state_dict()
    for options, added in [
        ({"window_size": 7, "rel_pos": "decomposed", "global_blocks": (2,), "rel_pos_size": 1024}, "rel_pos_"),
        ({"rel_pos": "bias", "layer_scale": 1.0}, "relative_position_bias_table"),
    ]:
        vit = TimmViT(model_kwargs=WIDTH, **options)
        left = vit.load_state_dict(plain, strict=False)
        assert left.unexpected_keys == [] and any(added in name for name in left.missing_keys)
        assert all(any(fnmatch(name, pattern) for pattern in vit.expected_missing_keys()) for name in left.missing_keys)
    windowed = TimmViT(model_kwargs=WIDTH, window_size=7, rel_pos="decomposed", global_blocks=(2,), rel_pos_size=1024)
    assert [len(block.attn.rel_pos_h) for block in windowed.blocks] == [13, 13, 127]  # ViTDet: 2 * 64 - 1 at 1024
    assert TimmViT(model_kwargs=WIDTH).expected_missing_keys() == ()


def test_encode_leaves_no_position_out() -> None:
    tokens = torch.randn(2, 9, 32)
    for options in ({"window_size": 2}, {"rel_pos": "decomposed"}, {"window_size": 2, "rel_pos": "bias"}):
        with pytest.raises(UserError, match=r"TimmViT.encode: window_size and rel_pos=.* would be left out"):
            TimmViT(img_size=48, model_kwargs=WIDTH, **options).encode(tokens, (3, 3))
    vit = randomized(TimmViT(img_size=48, rel_pos="bias", pos_embed="none", model_kwargs=WIDTH)).eval()
    with pytest.raises(UserError, match="give encode the grid"):
        vit.encode(tokens)
    images = torch.randn(2, 3, 32, 80)
    encoded = vit.encode(vit.embed(images), (2, 5))[:, 1:]
    torch.testing.assert_close(encoded, vit(images)[0].flatten(2).transpose(1, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("registers", [0, 2])
def test_bias_of_some_patches_is_that_of_the_whole_grid_without_the_others(registers, monkeypatch) -> None:
    kwargs = WIDTH | {"reg_tokens": registers}
    vit = randomized(TimmViT(img_size=(48, 64), rel_pos="bias", pos_embed="none", model_kwargs=kwargs)).double().eval()
    tokens, num_prefix = torch.randn(2, 12, 32).double(), 1 + registers
    patches = torch.tensor([[7, 0, 11, 2], [3, 4, 9, 8]])
    some = vit.encode(tokens.gather(1, patches[..., None].expand(-1, -1, 32)), (3, 4), patches)
    some[:, num_prefix:].square().sum().backward()
    grads = {name: parameter.grad.clone() for name, parameter in vit.named_parameters() if parameter.grad is not None}
    vit.zero_grad()
    # All patches ask, but only those that are there can be asked.
    unseen = torch.full((2, 1, 1, num_prefix + 12), -torch.inf).double()
    unseen[..., :num_prefix] = 0
    unseen[:, 0, 0].scatter_(1, patches + num_prefix, 0)
    bias = BiasAttention.bias
    monkeypatch.setattr(BiasAttention, "bias", lambda self, grid, prefix: bias(self, grid, prefix) + unseen)
    whole = vit.encode(tokens, (3, 4))
    kept = whole[:, num_prefix:].gather(1, patches[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(some, torch.cat([whole[:, :num_prefix], kept], 1), atol=1e-12, rtol=0)
    kept.square().sum().backward()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, vit.get_parameter(name).grad, atol=1e-10, rtol=0, msg=name)
    assert grads["blocks.2.attn.relative_position_bias_table"].abs().max() > 0


def test_zero_relative_positions_change_nothing() -> None:
    torch.manual_seed(0)
    plain, images = TimmViT(img_size=64, model_kwargs=WIDTH).eval(), torch.randn(1, 3, 96, 64)
    biased = TimmViT(img_size=64, rel_pos="bias", model_kwargs=WIDTH).eval()
    biased.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(biased(images)[0], plain(images)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_bias_equals_timm_beit(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = beit.Attention(32, num_heads=2, qkv_bias=True, window_size=grid)
    ours = BiasAttention(Attention(32, num_heads=2, qkv_bias=True), grid)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
        state = theirs.state_dict()
        state["qkv.bias"] = torch.cat([state.pop("q_bias"), torch.zeros(32), state.pop("v_bias")])
    ours.load_state_dict(state, strict=True)
    tokens = torch.randn(2, 1 + grid[0] * grid[1], 32)
    torch.testing.assert_close(ours(tokens, grid=grid), theirs(tokens), atol=1e-5, rtol=0)
    ours(tokens, grid=grid).square().sum().backward()
    theirs(tokens).square().sum().backward()
    torch.testing.assert_close(
        ours.relative_position_bias_table.grad, theirs.relative_position_bias_table.grad, atol=1e-4, rtol=1e-4
    )


def test_bias_table_resampled_as_timm_does() -> None:
    small, large = (BiasAttention(Attention(32, num_heads=2), (side, side)) for side in (4, 6))
    with torch.no_grad():
        small.relative_position_bias_table.normal_()
        large.relative_position_bias_table.copy_(
            resize_rel_pos_bias_table_simple(small.relative_position_bias_table, (6, 6), (11 * 11 + 3, 2))
        )
    for num_prefix_tokens in (0, 1, 3):
        torch.testing.assert_close(
            small.bias((6, 6), num_prefix_tokens), large.bias((6, 6), num_prefix_tokens), atol=1e-6, rtol=0
        )


def test_all_prefix_tokens_share_the_prefix_rows_of_the_bias() -> None:
    attention = BiasAttention(Attention(32, num_heads=2), (2, 3))
    with torch.no_grad():
        attention.relative_position_bias_table[-3:] = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    bias = attention.bias((2, 3), 2)[0]
    assert bias.shape == (2, 8, 8)
    for head, scale in enumerate((1.0, 10.0)):
        assert torch.equal(bias[head, :2, 2:], torch.full((2, 6), 1 * scale))  # prefix attends patch
        assert torch.equal(bias[head, 2:, :2], torch.full((6, 2), 2 * scale))  # patch attends prefix
        assert torch.equal(bias[head, :2, :2], torch.full((2, 2), 3 * scale))


def test_windows_with_bias_attend_within_windows_only() -> None:
    vit = randomized(
        TimmViT(img_size=64, window_size=2, rel_pos="bias", out_indices=(-1,), final_norm=False, model_kwargs=WIDTH)
    )
    images = torch.randn(1, 3, 64, 64)
    moved = images.clone()
    moved[..., :16, :16] += 1  # patch (0, 0), of the window at the top left
    changed = (vit(images)[0] != vit(moved)[0]).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_drop_path_drops_whole_images_not_windows() -> None:
    torch.manual_seed(0)
    block = GridBlock(Block(32, num_heads=2, drop_path=0.5), 2, None, (4, 4)).train()
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.zeros_(block.mlp.fc2.bias)  # the attention branch alone
    tokens = torch.randn(64, 16, 32)
    changed = (block(tokens, grid=(4, 4)) != tokens).any(dim=2)
    assert torch.equal(changed.all(dim=1), changed.any(dim=1))
    assert 16 < changed.all(dim=1).sum() < 48


def test_prefix_tokens_unused_by_vitdet_ask_for_no_gradient() -> None:
    vit = TimmViT(
        "vit_small_patch14_reg4_dinov2",
        img_size=32,
        patch_size=8,
        window_size=2,
        rel_pos="decomposed",
        model_kwargs=WIDTH,
    )
    vit(torch.randn(1, 3, 32, 32))[0].sum().backward()
    without = {name for name, parameter in vit.named_parameters() if parameter.grad is None}
    assert without == {"cls_token", "reg_token"} == {n for n, p in vit.named_parameters() if not p.requires_grad}
