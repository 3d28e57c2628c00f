"""Rotary positions of TimmViT against timm's own Eva on the same weights: images, windows, subsets, looks inside."""
import pytest
import timm
import torch
from vit_families import SMALL, random_state

from mimtransfer.backbones.inspect import view_blocks
from mimtransfer.backbones.rotary import project, turn
from mimtransfer.backbones.vit import TimmViT
from mimtransfer.errors import UserError
from mimtransfer.evaluation.pooling import pool
from mimtransfer.training.layer_decay import LayerDecayOptimWrapperConstructor

# DINOv3 without and with SwiGLU and biases; EVA-02 with packed SwiGLU, and with separate projections and inner norms;
# RoPE-ViT with fixed and learned angles, with and without absolute positions, with registers and no class token;
# a norm before the first block; grouped queries, q/k norm, layer scale of the attention alone; positions not rotary.
ARCHS = {
    "vit_small_patch16_dinov3": {}, "vit_small_plus_patch16_dinov3_qkvb": {}, "eva02_tiny_patch14_224": {},
    "eva02_base_patch14_224": {}, "vit_small_patch16_rope_224": {}, "vit_small_patch16_rope_mixed_224": {},
    "vit_small_patch16_rope_mixed_ape_224": {}, "vit_medium_patch16_rope_reg1_gap_256": {},
    "vit_pe_spatial_tiny_patch16_512": {}, "vit_base_patch16_sapiens2": {"num_kv_heads": (3, 1)},
    "eva_giant_patch14_224": {},
}
ROTARY = [arch for arch in ARCHS if "eva_giant" not in arch]
SIZES = [(64, 64), (48, 80), (96, 32)]


def ours(arch, **options):
    vit = TimmViT(arch, **{"img_size": 64, "patch_size": 8, "model_kwargs": {**SMALL, **ARCHS[arch]}, **options})
    random_state(vit)
    with torch.no_grad():
        for name, parameter in vit.named_parameters():
            if parameter.ndim == 1 and not name.endswith("bias"):
                parameter.add_(1)  # norms and layer scale, so that attention is far from even
    return vit


def timms(vit, arch):
    twin = timm.create_model(arch, img_size=64, patch_size=8, num_classes=0, global_pool="", dynamic_img_size=True,
                             **SMALL, **ARCHS[arch]).eval()
    twin.load_state_dict(vit.state_dict(), strict=True)
    return twin


def images(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def embedded(vit, pixels):
    grid = vit.patch_grid(pixels)
    return vit.add_position(vit.embed(pixels), grid), grid


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("arch", ARCHS)
@torch.no_grad()
def test_features_equal_timms(arch, size):
    vit = ours(arch, out_indices=(0, 1))
    twin, pixels = timms(vit, arch), images(size)
    whole, (first, _) = twin.forward_intermediates(pixels, indices=[0, 1])
    last = whole[:, vit.num_prefix_tokens:].transpose(1, 2).unflatten(2, vit.patch_grid(pixels))
    for our, their in zip(vit(pixels), (first, last), strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=0)
    torch.testing.assert_close(vit.encode(*embedded(vit, pixels)), twin.forward_features(pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "vit_small_patch16_rope_224",
                                  "vit_small_patch16_rope_mixed_224"])
@pytest.mark.parametrize("size", [(224, 224), (224, 336)])
@torch.no_grad()
def test_features_equal_timms_at_224_and_patches_as_published(arch, size):
    patch = 14 if "patch14" in arch else 16
    vit = ours(arch, img_size=224, patch_size=patch)
    twin = timm.create_model(arch, img_size=224, num_classes=0, global_pool="", dynamic_img_size=True, **SMALL).eval()
    twin.load_state_dict(vit.state_dict(), strict=True)
    pixels = images(size, batch=1)
    assert vit.patch_grid(pixels) == (224 // patch, size[1] // patch)
    torch.testing.assert_close(vit.encode(*embedded(vit, pixels)), twin.forward_features(pixels), atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if "dinov3" not in arch])
@torch.no_grad()
def test_the_grid_that_timm_is_built_for_makes_no_other_features(arch):
    vit = ours(arch)
    twin = timm.create_model(arch, img_size=64, patch_size=8, num_classes=0, global_pool="", **SMALL, **ARCHS[arch])
    twin.load_state_dict(vit.state_dict(), strict=True)
    pixels = images((64, 64))
    torch.testing.assert_close(vit.encode(*embedded(vit, pixels)), twin.eval().forward_features(pixels), atol=1e-5,
                               rtol=0)


@pytest.mark.parametrize("arch", ROTARY)
@torch.no_grad()
def test_a_patch_keeps_its_angles_among_any_others(arch):
    """A subset of patches, in any order: what an attention mask on the whole image leaves of timm's own."""
    vit = ours(arch)
    pixels = images((48, 80), batch=1)
    tokens, grid = embedded(vit, pixels)
    patches = torch.randperm(60, generator=torch.Generator().manual_seed(2))[None, :17]
    found = vit.encode(tokens[:, patches[0]], grid, patches)

    prefix = vit.num_prefix_tokens
    there = torch.zeros(prefix + 60, dtype=torch.bool)
    there[:prefix], there[prefix + patches[0]] = True, True
    wanted = timms(vit, arch).forward_features(pixels, attn_mask=there.expand(1, 1, len(there), -1))
    order = torch.cat([torch.arange(prefix), prefix + patches[0]])
    torch.testing.assert_close(found, wanted[:, order], atol=1e-5, rtol=0)
    elsewhere = vit.encode(tokens[:, patches[0]], grid, patches.flip(1))
    assert (found - elsewhere).abs().max() > 1e-3


@pytest.mark.parametrize("arch", ROTARY)
@torch.no_grad()
def test_windows_attend_as_masks_on_the_whole_image(arch):
    """A window is the attention among its patches, each turned by its place in the whole image."""
    options = dict(out_indices=(0, 1), final_norm=False)
    vit = ours(arch, window_size=4, global_blocks=(1,), **options)
    pixels = images((64, 96))
    h, w = vit.patch_grid(pixels)
    window = (torch.arange(h)[:, None] // 4 * w + torch.arange(w) // 4).flatten()
    twin = ours(arch, **options)
    twin.load_state_dict(vit.state_dict())
    twin.cls_token = twin.reg_token = None
    for block in twin.blocks:
        block.attn.num_prefix_tokens = 0
    tokens, grid = embedded(twin, pixels)
    first, second = twin.places(grid)
    x = twin.blocks[0](twin.norm_pre(tokens), **first, attn_mask=window[:, None] == window)
    for our, their in zip(vit(pixels), (x, twin.blocks[1](x, **second)), strict=True):
        torch.testing.assert_close(our, their.transpose(1, 2).unflatten(2, (h, w)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224"])
@torch.no_grad()
def test_one_window_of_the_whole_grid_is_no_window(arch):
    in_window, everywhere = (ours(arch, window_size=size, final_norm=False, global_blocks=blocks)
                             for size, blocks in ((8, ()), (3, (0, 1))))
    torch.testing.assert_close(in_window(images((64, 64)))[0], everywhere(images((64, 64)))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ["vit_small_patch16_dinov3", "vit_small_patch16_rope_mixed_224",
                                  "eva02_base_patch14_224"])
def test_windows_that_the_edge_cuts_are_padded_and_every_parameter_learns(arch):
    vit = ours(arch, window_size=3, global_blocks=(-1,), grad_checkpointing=True)
    pixels = images((32, 56), batch=1)
    (features,) = vit(pixels)
    assert features.shape == (1, 48, 4, 7)
    features.square().sum().backward()
    assert all(p.grad is not None for p in vit.parameters() if p.requires_grad)
    assert not vit.cls_token.requires_grad
    # Padding lies right and below: the first, whole window does not see it.
    with torch.no_grad():
        patches = (torch.arange(3)[:, None] * 7 + torch.arange(3)).flatten()[None]
        alone = ours(arch, window_size=3, global_blocks=(-1,), out_indices=(0,), final_norm=False)
        seen = alone(pixels)[0][:, :, :3, :3].flatten(2).transpose(1, 2)
        tokens, grid = embedded(alone, pixels)
        place = next(ours(arch).places(grid, patches))
        wanted = alone.blocks[0](alone.norm_pre(tokens[:, patches[0]]), grid=(3, 3), rope=place["rope"][0].squeeze(0))
    torch.testing.assert_close(seen, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ROTARY)
@torch.no_grad()
def test_a_look_inside_sees_the_attention_that_acts(arch):
    vit = ours(arch)
    pixels = images((48, 80), batch=1)
    blocks = list(view_blocks(vit, pixels))
    torch.testing.assert_close(blocks[-1].tokens, vit.encode_blocks(*embedded(vit, pixels))[-1], atol=1e-5, rtol=0)
    view = blocks[1]
    attn, normed = vit.blocks[1].attn, vit.blocks[1].norm1(blocks[0].output)
    values = project(attn, normed, "v")[0]
    made = attn.norm((view.attention @ values).transpose(1, 2).flatten(2))
    rope = list(vit.places(view.grid))[1]["rope"]
    torch.testing.assert_close(attn.proj(made), attn(normed, rope=rope), atol=1e-5, rtol=0)
    assert view.keys.shape == (1, 60, 48)
    turned = turn(attn, project(attn, normed, "k")[0], rope)[:, :, vit.num_prefix_tokens:]
    assert (turned.transpose(1, 2).flatten(2) - view.keys).abs().max() > 1e-3  # keys tell what, not where


@torch.no_grad()
def test_the_class_token_of_a_rotary_vit_is_pooled():
    vit = ours("vit_small_patch16_dinov3")
    twin, pixels = timms(vit, "vit_small_patch16_dinov3"), images((48, 80))
    torch.testing.assert_close(pool(vit, pixels, "class"), twin.forward_features(pixels)[:, 0], atol=1e-5, rtol=0)


def test_learned_angles_belong_to_the_stem_and_are_not_decayed():
    vit = ours("vit_small_patch16_rope_mixed_224")
    optimizer = LayerDecayOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0, weight_decay=0.1)), dict(layer_decay_rate=0.5)
    )(vit).optimizer
    groups = [group for group in optimizer.param_groups if any(p is vit.rope.freqs for p in group["params"])]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.125, 0.0)]


def test_frozen_stages_hold_the_angles():
    vit = ours("vit_small_patch16_rope_mixed_224", frozen_stages=0)
    assert not vit.rope.freqs.requires_grad and vit.blocks[0].attn.qkv.weight.requires_grad


@pytest.mark.parametrize(("options", "message"), [
    (dict(rel_pos="decomposed"), "takes neither rel_pos='decomposed' nor post_norm"),
    (dict(post_norm=True), "takes neither rel_pos=None nor post_norm"),
    (dict(pos_embed="sincos"), "has rotary positions alone"),
])
def test_what_an_eva_has_no_place_for_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        ours("vit_small_patch16_dinov3", **options)


def test_windows_of_blocks_with_norms_behind_the_sums_are_refused():
    with pytest.raises(UserError, match="windows need timm's plain EvaBlock, got EvaBlockPostNorm"):
        TimmViT("vit_small_patch16_rope_224", window_size=2, model_kwargs=dict(SMALL, use_post_norm=True))


def test_encode_refuses_to_leave_the_angles_out():
    vit = ours("vit_small_patch16_rope_224")
    with pytest.raises(UserError, match="rotary positions would be left out: give encode the grid"):
        vit.encode(torch.zeros(1, 4, 48))


def test_layer_scale_begins_as_asked():
    vit = TimmViT("vit_small_patch16_rope_224", layer_scale=1.0, model_kwargs=SMALL)
    assert (vit.blocks[0].gamma_1 == 1).all() and "blocks.*.gamma_1" in vit.expected_missing_keys()
