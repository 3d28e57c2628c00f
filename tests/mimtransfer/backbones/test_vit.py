"""TimmViT against timm: names, maps, subsets of tokens, positions, and what a user may get wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS as MMENGINE_MODELS
from timm.layers import DropPath
from torch import nn

from mimtransfer.backbones import TimmViT, sincos2d
from mimtransfer.errors import UserError

TINY = {"embed_dim": 48, "depth": 3, "num_heads": 4}
# What differs between plain ViTs: prefix tokens and their positions, norms before the blocks and inside attention.
ARCHS = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch14_reg4_dinov2": {},  # 4 registers, no position for prefix tokens, layer scale
    "vit_base_patch16_clip_224": {},  # norm before the blocks, no bias in the patch embedding
    "vit_medium_patch16_gap_256": {},  # no class token
    "vit_base_patch16_224": {"qk_norm": True, "scale_attn_norm": True},
}


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter values that matter: a zero bias or a unit gain would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return module


def timm_twin(vit: TimmViT, arch: str, **kwargs: object) -> nn.Module:
    """Build timm's own model with the weights of `vit`, all of them."""
    twin = timm.create_model(arch, num_classes=0, patch_size=vit.patch_size, img_size=vit.img_size, **kwargs)
    twin.load_state_dict(vit.state_dict(), strict=True)
    return twin.eval()


@pytest.mark.parametrize("arch", ARCHS)
def test_equals_timm_and_shares_its_names(arch: str) -> None:
    kwargs = dict(TINY, **ARCHS[arch])
    vit = randomize(
        TimmViT(arch, img_size=32, patch_size=8, out_indices=(0, 2), final_norm=True, model_kwargs=kwargs)
    ).eval()
    twin = timm_twin(vit, arch, dynamic_img_size=True, **kwargs)
    images = torch.randn(2, 3, 24, 40)  # another, non-square grid: 3 x 5
    first, last = vit(images)
    features, (twin_first, _) = twin.forward_intermediates(images, indices=[0, 2])
    twin_last = features[:, vit.num_prefix_tokens :].transpose(1, 2).reshape(2, 48, 3, 5)
    torch.testing.assert_close(first, twin_first, atol=1e-5, rtol=0)
    torch.testing.assert_close(last, twin_last, atol=1e-5, rtol=0)
    tokens = vit.add_position(vit.embed(images), vit.patch_grid(images))
    torch.testing.assert_close(vit.encode(tokens), twin.forward_features(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("height", "width", "patch"), [(64, 64, 4), (224, 224, 16), (320, 512, 16), (448, 1024, 32), (1024, 1024, 16)]
)
def test_sizes_against_timm(height: int, width: int, patch: int) -> None:
    kwargs = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    vit = randomize(
        TimmViT(img_size=224 // patch * patch, patch_size=patch, final_norm=False, model_kwargs=kwargs)
    ).eval()
    twin = timm.create_model(
        "vit_base_patch16_224",
        num_classes=0,
        img_size=vit.img_size,
        patch_size=patch,
        dynamic_img_size=True,
        final_norm=False,
        **kwargs,
    ).eval()
    twin.load_state_dict(vit.state_dict(), strict=True)
    images = torch.randn(1, 3, height, width)
    with torch.no_grad():
        (ours,) = vit(images)
        (theirs,) = twin.forward_intermediates(images, indices=[1], intermediates_only=True)
    assert ours.shape == (1, 32, height // patch, width // patch)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "arch", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_medium_patch16_gap_256"]
)
def test_encode_of_a_subset_equals_timm_on_that_subset(arch: str) -> None:
    vit = randomize(TimmViT(arch, img_size=32, patch_size=8, model_kwargs=TINY)).eval()
    twin = timm_twin(vit, arch, **TINY)
    images = torch.randn(2, 3, 32, 32)
    keep = torch.tensor([[3, 0, 15, 7], [8, 9, 1, 2]])
    with torch.no_grad():
        tokens = vit.add_position(vit.embed(images), (4, 4))
        ours = vit.encode(tokens.gather(1, keep[..., None].expand(-1, -1, 48)))
        whole = twin._pos_embed(twin.patch_embed(images))  # [B, P + 16, D], all positions added
        num_prefix = twin.num_prefix_tokens
        assembled = torch.stack(
            [torch.cat([row[:num_prefix], row[num_prefix:][index]]) for row, index in zip(whole, keep)]
        )
        theirs = twin.norm(twin.blocks(twin.norm_pre(assembled)))
    assert ours.shape == (2, vit.num_prefix_tokens + 4, 48)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_sincos_table_is_the_published_formula() -> None:
    # MAE: 1-d tables of D/2 channels, sines then cosines of pos / 10000^(2i / (D/2)); columns first, then rows.
    vit = TimmViT("vit_tiny_patch16_224", img_size=(32, 56), patch_size=8, pos_embed="sincos", model_kwargs=TINY)
    assert not vit.pos_embed.requires_grad
    assert torch.equal(vit.pos_embed[0, 0], torch.zeros(48))  # class token
    for patch in range(28):
        row, column = divmod(patch, 7)
        expected = [
            f(torch.tensor(pos / 10000 ** (2 * i / 24), dtype=torch.float64))
            for pos in (column, row)
            for f in (torch.sin, torch.cos)
            for i in range(12)
        ]
        torch.testing.assert_close(vit.pos_embed[0, patch + 1], torch.stack(expected).float(), atol=1e-7, rtol=0)
    with pytest.raises(UserError, match="multiple of 4"):
        sincos2d((2, 2), 6)


def test_resampled_position_passes_the_gradient_of_a_linear_map() -> None:
    vit = TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, model_kwargs=TINY)
    weight = torch.randn(1, 15, 48)
    resampled = vit.add_position(torch.zeros(1, 15, 48), (3, 5))
    (resampled * weight).sum().backward()
    # <A x, y> = <x, A^T y>, and nothing reaches the class token's position
    torch.testing.assert_close(
        (vit.pos_embed.grad * vit.pos_embed).sum(), (resampled * weight).sum(), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(vit.pos_embed.grad[:, 0], torch.zeros(1, 48))


def test_forward_pads_right_and_bottom_but_embed_refuses() -> None:
    vit = randomize(TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, model_kwargs=TINY)).eval()
    images = torch.randn(1, 3, 29, 33)
    assert vit.patch_grid(images) == (4, 5)
    (ours,) = vit(images)
    assert ours.shape == (1, 48, 4, 5)
    torch.testing.assert_close(ours, vit(F.pad(images, (0, 7, 0, 3)))[0], atol=0, rtol=0)
    with pytest.raises(UserError, match="29x33 are not a multiple of the patch 8x8"):
        vit.embed(images)


def test_blocks_after_the_last_output_do_not_exist_and_every_parameter_is_used() -> None:
    vit = TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, out_indices=(-2, 0), model_kwargs=TINY)
    assert (len(vit.blocks), vit.num_layers, vit.out_indices) == (2, 2, (1, 0))
    assert not any(name.startswith("norm.") for name, _ in vit.named_parameters())
    deep, shallow = vit(torch.randn(1, 3, 32, 32))
    assert not torch.equal(deep, shallow)
    (deep.sum() + shallow.sum()).backward()
    assert all(parameter.grad is not None for parameter in vit.parameters())

    whole = TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, model_kwargs=TINY)
    whole.encode(whole.add_position(whole.embed(torch.randn(1, 3, 32, 32)), (4, 4))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in whole.parameters())


def test_final_norm_is_for_the_last_block_only() -> None:
    vit = randomize(
        TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, out_indices=(1, 2), model_kwargs=TINY)
    ).eval()
    plain = TimmViT(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, out_indices=(1, 2), final_norm=False, model_kwargs=TINY
    ).eval()
    left = plain.load_state_dict(vit.state_dict(), strict=False)
    assert (left.missing_keys, left.unexpected_keys) == ([], ["norm.weight", "norm.bias"])
    images = torch.randn(1, 3, 32, 32)
    (normed_1, normed_2), (plain_1, plain_2) = vit(images), plain(images)
    assert torch.equal(normed_1, plain_1)
    torch.testing.assert_close(normed_2, vit.norm(plain_2.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), atol=1e-6, rtol=0)


def test_drop_path_grows_linearly() -> None:
    vit = TimmViT("vit_tiny_patch16_224", drop_path_rate=0.3, model_kwargs=dict(TINY, depth=4))
    rates = [block.drop_path1.drop_prob if isinstance(block.drop_path1, DropPath) else 0.0 for block in vit.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_frozen_stages_do_not_move_and_stay_in_evaluation() -> None:
    vit = TimmViT(
        "vit_small_patch14_reg4_dinov2",
        img_size=32,
        patch_size=8,
        frozen_stages=2,
        drop_path_rate=0.5,
        model_kwargs=dict(TINY, proj_drop_rate=0.5, pos_drop_rate=0.5),
    ).train()
    assert [block.training for block in vit.blocks] == [False, False, True]
    assert not vit.blocks[1].drop_path1.training and not vit.pos_drop.training and vit.norm.training
    trained = {name for name, parameter in vit.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in vit.named_parameters() if name.startswith(("blocks.2.", "norm."))}
    assert (
        TimmViT("vit_tiny_patch16_224", img_size=32, patch_size=8, frozen_stages=0, model_kwargs=TINY)
        .blocks[0]
        .training
    )
    vit(torch.randn(1, 3, 32, 32))[0].sum().backward()
    assert {name for name, parameter in vit.named_parameters() if parameter.grad is not None} == trained


@pytest.mark.parametrize("options", [{}, {"window_size": 2, "global_blocks": (1,), "rel_pos": "decomposed"}])
def test_checkpointing_leaves_gradients_bit_equal(options: dict) -> None:
    grads = []
    for grad_checkpointing in (False, True):
        torch.manual_seed(0)
        vit = TimmViT(
            "vit_tiny_patch16_224",
            img_size=32,
            patch_size=8,
            drop_path_rate=0.5,
            model_kwargs=TINY,
            grad_checkpointing=grad_checkpointing,
            **options,
        ).train()
        images = torch.randn(4, 3, 32, 32)
        torch.manual_seed(1)  # drop path draws the same numbers, also in the recomputation
        loss = vit(images)[0].square().sum()
        if not options:
            loss = loss + vit.encode(vit.embed(images)[:, :5]).square().sum()
        loss.backward()
        grads.append({name: parameter.grad for name, parameter in vit.named_parameters()})
    assert grads[0].keys() == grads[1].keys()
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0] if grads[0][name] is not None)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"arch": "vit_bse_patch16_224"},
            "unknown arch='vit_bse_patch16_224' of TimmViT: did you mean .*vit_base_patch16_224",
        ),
        ({"arch": "vit_tiny_patch16_224.augreg_in21k"}, "names weights: give arch='vit_tiny_patch16_224'"),
        ({"arch": "resnet18"}, "use type=.mimtransfer.TimmCNN"),
        ({"arch": "test_vit_relpos"}, "not a plain ViT"),
        ({"img_size": 100, "model_kwargs": TINY}, "img_size=.100, 100. .* the patch .16, 16.: take e.g. 96"),
        ({"model_kwargs": dict(TINY, num_heads=5)}, "timm cannot build"),
        ({"model_kwargs": dict(TINY, widht=5)}, "widht"),
        ({"model_kwargs": {"drop_path_rate": 0.1}}, "may not hold drop_path_rate"),
        (
            {"out_indices": (0, 3), "model_kwargs": TINY},
            "out_indices=.0, 3. of TimmViT must name different blocks out of 3",
        ),
        ({"out_indices": (), "model_kwargs": TINY}, "empty"),
        ({"global_blocks": (0,), "model_kwargs": TINY}, "needs window_size"),
        ({"pos_embed": "sincos2d"}, "pos_embed='sincos2d' of TimmViT is not one of 'learned', 'sincos'"),
        ({"rel_pos": "Decomposed"}, "not one of None, 'decomposed', 'bias'"),
        ({"frozen_stages": 4, "model_kwargs": TINY}, "-1 ... 3"),
        ({"window_size": 2, "model_kwargs": dict(TINY, attn_layer="diff")}, "plain Block and Attention"),
    ],
)
def test_mistakes_are_one_line(kwargs: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        TimmViT(**{"arch": "vit_tiny_patch16_224", **kwargs})
    assert "\n" not in str(error.value)


def test_init_weights_keeps_the_constructor_or_loads_and_reports(tmp_path: Path) -> None:
    config = {
        "type": "mimtransfer.TimmViT",
        "arch": "vit_tiny_patch16_224",
        "img_size": 32,
        "patch_size": 8,
        "model_kwargs": TINY,
    }
    scratch = MMENGINE_MODELS.build(config)
    before = {name: value.clone() for name, value in scratch.state_dict().items()}
    scratch.init_weights()
    assert all(torch.equal(before[name], value) for name, value in scratch.state_dict().items())
    assert scratch.load_report is None

    source = randomize(scratch)
    torch.save(source.state_dict(), tmp_path / "tiny.pth")
    loaded = MMENGINE_MODELS.build(
        dict(config, init_cfg={"type": "Pretrained", "checkpoint": str(tmp_path / "tiny.pth")})
    )
    loaded.init_weights()
    assert len(loaded.load_report.matched) == len(source.state_dict())
    assert all(torch.equal(source.state_dict()[name], value) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(("frozen_stages", "refused"), [(-1, False), (2, False), (3, True)])
def test_frozen_blocks_do_not_lose_relative_positions(frozen_stages: int, refused: bool, tmp_path) -> None:
    """Training makes up for them; a k-NN, a linear probe or a head on frozen maps would measure another model."""
    options = dict(arch="vit_tiny_patch16_224", img_size=32, patch_size=8, model_kwargs=TINY)
    torch.save(TimmViT(**options, rel_pos="bias").state_dict(), tmp_path / "tiny.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "tiny.pth")}
    vit = TimmViT(**options, frozen_stages=frozen_stages, init_cfg=init_cfg)
    if refused:
        with pytest.raises(UserError, match="attends by relative positions"):
            vit.init_weights()
    else:
        vit.init_weights()


def test_import_needs_no_openmmlab_task_library() -> None:
    code = "import json, sys, mimtransfer.backbones; print(json.dumps([m for m in sys.modules if '.' not in m]))"
    modules = json.loads(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )
    assert "timm" in modules and not {"mmcv", "mmdet", "mmseg", "pretrain"} & set(modules)
