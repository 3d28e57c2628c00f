"""Loading at another image size, patch size or number of prefix tokens: values against timm's own resampling."""
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.load import load_backbone

ARCH = "vit_tiny_patch16_224"
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3}


def vit(seed=0, img_size=64, patch_size=16, **kwargs):
    """Build a small timm ViT whose every parameter is random (timm starts biases and layer norms constant)."""
    model = timm.create_model(ARCH, img_size=img_size, patch_size=patch_size, num_classes=0, **{**SMALL, **kwargs})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def timm_vit(**kwargs):
    return TimmViT(ARCH, **{"img_size": 64, "model_kwargs": SMALL, **kwargs})


@pytest.fixture
def save(tmp_path):
    def write(checkpoint, name="checkpoint.pth"):
        torch.save(checkpoint, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_positions_are_resampled_to_a_wide_grid_as_timm_does(save):
    source, backbone = vit(), timm_vit(img_size=(96, 32))
    report = load_backbone(backbone, save(source.state_dict()))
    want = resample_abs_pos_embed(source.pos_embed, new_size=[6, 2], old_size=[4, 4], num_prefix_tokens=1)
    assert torch.equal(backbone.pos_embed, want)
    assert torch.equal(backbone.pos_embed[:, 0], source.pos_embed[:, 0])
    assert report.resized == {"pos_embed": "grid 4x4 + 1 prefix -> grid 6x2 + 1 prefix"}


def test_equal_number_of_tokens_is_not_an_equal_grid(save):
    source, backbone = vit(), timm_vit(img_size=(128, 32))  # 4x4 and 8x2: 16 patches each
    report = load_backbone(backbone, save(source.state_dict()))
    assert not torch.equal(backbone.pos_embed, source.pos_embed)
    assert report.resized == {"pos_embed": "grid 4x4 + 1 prefix -> grid 8x2 + 1 prefix"}


def test_our_files_say_their_grid(save):
    source, backbone = vit(img_size=(128, 32)), timm_vit(img_size=(128, 32))
    state = {f"encoder.{name}": value for name, value in source.state_dict().items()}
    report = load_backbone(backbone, save({"state_dict": state, "meta": {"mimtransfer": {"grid": [8, 2]}}}))
    assert torch.equal(backbone.pos_embed, source.pos_embed) and report.resized == {}


def test_a_grid_that_is_no_square_has_the_backbones_aspect_ratio(save):
    source, backbone = vit(img_size=(64, 192)), vit(seed=1, img_size=(32, 96))
    load_backbone(backbone, save(source.state_dict()))
    want = resample_abs_pos_embed(source.pos_embed, new_size=[2, 6], old_size=[4, 12], num_prefix_tokens=1)
    assert torch.equal(backbone.pos_embed, want)


@pytest.mark.parametrize("reg_tokens", [0, 4])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("here", [False, True])
def test_prefix_positions_keep_the_function(reg_tokens, there, here, save):
    """Positions of prefix tokens move from the table into the tokens, or are zero: the output is the same."""
    source = vit(img_size=96, reg_tokens=reg_tokens, no_embed_class=there)
    backbone = vit(seed=1, img_size=96, reg_tokens=reg_tokens, no_embed_class=here)
    load_backbone(backbone, save(source.state_dict()))
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(backbone(images), source(images), rtol=1e-4, atol=1e-4)


def test_backbone_without_class_token_takes_patch_positions_only(save):
    source = vit()
    backbone = vit(seed=1, class_token=False, global_pool="")
    report = load_backbone(backbone, save(source.state_dict()))
    assert torch.equal(backbone.pos_embed, source.pos_embed[:, 1:])
    assert report.resized == {"pos_embed": "grid 4x4 + 1 prefix -> grid 4x4 + 0 prefix"}
    assert report.unexpected == ["cls_token"]


def test_positions_of_sam_lie_on_a_grid(save):
    source = vit()
    backbone = vit(seed=1)
    backbone.cls_token = None
    backbone.pos_embed = nn.Parameter(torch.zeros(1, 2, 6, 48))  # [1, h, w, D]
    load_backbone(backbone, save(source.state_dict()))
    want = resample_abs_pos_embed(source.pos_embed[:, 1:], new_size=[2, 6], old_size=[4, 4], num_prefix_tokens=0)
    assert torch.equal(backbone.pos_embed, want.reshape(1, 2, 6, 48))
    again = vit(seed=2)
    state = backbone.state_dict() | {"cls_token": source.cls_token.detach()}
    load_backbone(again, save(state))
    want = resample_abs_pos_embed(want, new_size=[4, 4], old_size=[2, 6], num_prefix_tokens=0)
    assert torch.equal(again.pos_embed, F.pad(want, (0, 0, 1, 0)))


def test_patch_embedding_is_resampled(save):
    source, backbone = vit(img_size=56, patch_size=14), vit(seed=1)
    report = load_backbone(backbone, save(source.state_dict()))
    assert torch.equal(backbone.patch_embed.proj.weight, resample_patch_embed(source.patch_embed.proj.weight, [16, 16]))
    assert report.resized == {"patch_embed.proj.weight": "48x3x14x14 -> 48x3x16x16"}


def test_relative_positions_missing_same_or_resized(save):
    options = {"rel_pos": "decomposed", "window_size": 2, "global_blocks": (1,)}
    backbone = timm_vit(**options)
    report = load_backbone(backbone, save(vit().state_dict()))
    names = {f"blocks.{block}.attn.rel_pos_{axis}" for block in (0, 1) for axis in "hw"}
    assert set(report.expected_missing) == names and all((backbone.state_dict()[name] == 0).all() for name in names)
    assert "left as initialised: blocks.*.attn.rel_pos_h (2), blocks.*.attn.rel_pos_w (2)" in str(report)

    tables = {"blocks.0.attn.rel_pos_h": torch.randn(3, 16), "blocks.1.attn.rel_pos_w": torch.randn(5, 16)}
    report = load_backbone(backbone, save(vit().state_dict() | tables))
    assert torch.equal(backbone.blocks[0].attn.rel_pos_h, tables["blocks.0.attn.rel_pos_h"])
    # Five rows to seven: both ends of the axis keep their distance to the border, F.interpolate's convention.
    table = tables["blocks.1.attn.rel_pos_w"]
    at = ((torch.arange(7) + 0.5) * 5 / 7 - 0.5).clamp(0, 4)
    below = at.floor().long()
    want = torch.lerp(table[below], table[(below + 1).clamp(max=4)], (at - below)[:, None])
    torch.testing.assert_close(backbone.blocks[1].attn.rel_pos_w.detach(), want, rtol=1e-5, atol=1e-5)
    assert report.resized == {"blocks.1.attn.rel_pos_w": "5x16 -> 7x16"}


def test_bias_tables_are_resized_and_keep_the_prefix_rows(save):
    small, large = timm_vit(rel_pos="bias", img_size=32), timm_vit(rel_pos="bias", img_size=64)
    name = "blocks.0.attn.relative_position_bias_table"
    with torch.no_grad():
        small.blocks[0].attn.relative_position_bias_table.copy_(
            torch.cat([torch.arange(9.0)[:, None].expand(9, 3), torch.tensor([[7.0], [8.0], [9.0]]).expand(3, 3)])
        )
    report = load_backbone(large, save({f"backbone.{k}": v for k, v in small.state_dict().items()}))
    table = large.blocks[0].attn.relative_position_bias_table.detach()
    assert table.shape == (52, 3) and report.resized[name] == "12x3 -> 52x3"
    assert torch.equal(table[-3:], torch.tensor([[7.0], [8.0], [9.0]]).expand(3, 3))
    # Offset 0 keeps its value, and so does each corner of the ramp.
    patches = table[:-3].reshape(7, 7, 3)
    torch.testing.assert_close(patches[3, 3], torch.full((3,), 4.0))
    torch.testing.assert_close(patches[0, 0], torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(patches[6, 6], torch.full((3,), 8.0), atol=1e-4, rtol=0)
