"""TimmSwin against timm: names, features, any image size, and what transfer adds."""
import pytest
import timm
import torch
from deterministic import fill

from mimtransfer.backbones.inspect import view_block
from mimtransfer.backbones.swin import TimmSwin
from mimtransfer.checkpoints.formats import read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

ARCH = "swin_tiny_patch4_window7_224"
SMALL = dict(embed_dim=16, depths=(2, 2, 2, 1), num_heads=(1, 2, 2, 4))


def build(**kwargs) -> TimmSwin:
    options = dict(dict(img_size=64, window_size=4, model_kwargs=SMALL), **kwargs)
    model = TimmSwin(ARCH, **options)
    fill(model)
    return model.eval()


def of_timm(**kwargs):
    model = timm.create_model(ARCH, num_classes=0, **{**dict(img_size=64, window_size=4), **SMALL, **kwargs})
    fill(model)
    return model.eval()


@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_maps_equal_those_of_timm(size):
    backbone, theirs = build(out_indices=(0, 1, 2, 3)), of_timm(strict_img_size=False)
    assert theirs.state_dict().keys() == backbone.state_dict().keys()
    backbone.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, *size)
    maps = backbone(images)
    expected = theirs.forward_intermediates(images, norm=True, intermediates_only=True)
    assert all(torch.equal(ours, other) for ours, other in zip(maps, expected, strict=True))
    assert torch.equal(maps[3], theirs.forward_features(images).permute(0, 3, 1, 2))
    assert [tuple(m.shape[1:]) for m in maps] == [(16 * 2**i, size[0] >> (2 + i), size[1] >> (2 + i)) for i in range(4)]


@pytest.mark.parametrize("size", [(70, 99), (31, 64), (33, 5)])
def test_any_image_size_is_padded_right_and_bottom(size):
    backbone = build(out_indices=(0, 1, 2, 3))
    images = torch.randn(1, 3, *size)
    maps = backbone(images)
    assert [tuple(m.shape[-2:]) for m in maps] == [(-(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32)]
    assert backbone.patch_grid(images) == tuple(maps[3].shape[-2:])
    padded = torch.nn.functional.pad(images, (0, -size[1] % 4, 0, -size[0] % 4))
    assert torch.equal(backbone(padded)[0], maps[0])


@pytest.mark.parametrize("size", [(64, 64), (64, 160)])
def test_the_verbs_of_pretraining_make_the_same_map(size):
    backbone, images = build(), torch.randn(2, 3, *size)
    grid = backbone.patch_grid(images)
    tokens = backbone.embed(images)
    assert tokens.shape == (2, grid[0] * grid[1], 64, 16)
    # The stem tokens of patch 1 are those of columns 8 to 15 in rows 0 to 7.
    assert torch.equal(tokens[:, 1], backbone.patch_embed(images)[:, :8, 8:16].flatten(1, 2))
    latent = backbone.encode(backbone.add_position(tokens, grid))
    assert torch.equal(latent.transpose(1, 2).unflatten(2, grid), backbone(images)[0])
    assert backbone.patch_size == (32, 32) and backbone.grid_size == (2, 2) and backbone.embed_dim == 128


def test_stages_that_nobody_reads_do_not_exist():
    backbone = build(out_indices=(2, 0), out_norms=True).train()
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [64, 16]
    sum(m.square().sum() for m in maps).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert not any(name.startswith(("layers.3", "norm.")) for name in backbone.state_dict())
    assert {"norm0.weight", "norm2.weight"} <= set(backbone.state_dict())
    plain = build(out_indices=(2, 0))
    for ours, raw, norm in zip(maps, plain(torch.randn(1, 3, 64, 64)), (backbone.norm2, backbone.norm0)):
        assert ours.shape == raw.shape and norm.normalized_shape[0] == ours.shape[1]


def test_frozen_stages_neither_train_nor_drop():
    backbone = build(frozen_stages=2, drop_path_rate=0.5, out_indices=(1, 3)).train()
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {n for n in backbone.state_dict() if n.startswith(("patch_embed", "layers.0.", "layers.1."))}
    images = torch.randn(4, 3, 64, 64)
    first, second = backbone(images), backbone(images)
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])


def test_checkpointing_gives_the_same_gradients():
    images, gradients = torch.randn(1, 3, 64, 64), []
    for recompute in (False, True):
        backbone = build(grad_checkpointing=recompute).train()
        backbone(images)[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(*gradients))


def test_a_file_of_timm_loads_and_another_depth_is_refused(tmp_path):
    torch.save(of_timm().state_dict() | {"head.fc.weight": torch.ones(2)}, tmp_path / "swin.pth")
    report = load_backbone(TimmSwin(ARCH, img_size=64, window_size=4, model_kwargs=SMALL), tmp_path / "swin.pth")
    assert report.source == "timm" and report.unexpected == ["head.fc.weight"] and not report.resized
    shallow = TimmSwin(ARCH, img_size=64, window_size=4, model_kwargs=dict(SMALL, depths=(2, 2, 1, 1)))
    with pytest.raises(UserError, match=r"deeper .*width 16, 2-2-2-1 blocks, the backbone width 16, 2-2-1-1 blocks"):
        load_backbone(shallow, tmp_path / "swin.pth")


def test_names_of_official_simmim_become_those_of_timm():
    table = torch.randn(52, 3)
    vit = {"blocks.0.norm1.weight", "blocks.1.norm1.weight", "mask_token", "rel_pos_bias.relative_position_index"}
    state = {f"encoder.{name}": torch.ones(2) for name in vit} | {
        "encoder.rel_pos_bias.relative_position_bias_table": table,
        "encoder.blocks.1.attn.q_bias": torch.full((2,), 1.0),
        "encoder.blocks.1.attn.v_bias": torch.full((2,), 3.0),
        "decoder.0.bias": torch.ones(2),
    }
    found = read_format({"model": state})
    assert found.encoder["blocks.1.attn.qkv.bias"].tolist() == [1, 1, 0, 0, 3, 3]
    # The bias that all blocks share goes to each.
    assert all(found.encoder[f"blocks.{i}.attn.relative_position_bias_table"] is table for i in (0, 1))
    assert set(found.encoder) == {
        *(f"blocks.{i}.{name}" for i in (0, 1) for name in ("norm1.weight", "attn.relative_position_bias_table")),
        "blocks.1.attn.qkv.bias",
    }
    assert set(found.rest) == {
        "encoder.mask_token", "encoder.rel_pos_bias.relative_position_index", "decoder.0.bias",
    }


@pytest.mark.parametrize("options, message", [
    (dict(arch="swin_tinny_patch4_window7_224"), "unknown arch='swin_tinny.*did you mean swin_tiny_patch4_window7_224"),
    (dict(arch="vit_base_patch16_224"), "unknown arch='vit_base_patch16_224' of TimmSwin"),
    (dict(out_indices=(4,)), r"out_indices=\(4,\) of TimmSwin must name stages out of 4"),
    (dict(out_indices=()), "must name stages"),
    (dict(frozen_stages=5), "frozen_stages=5"),
    (dict(model_kwargs=dict(window_size=7)), "may not hold window_size"),
    (dict(model_kwargs=dict(depth=3)), "timm cannot build .*depth"),
])
def test_mistakes_give_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        TimmSwin(**{**dict(arch=ARCH, model_kwargs=SMALL), **options})
    assert "\n" not in str(error.value)


def test_what_needs_a_plain_vit_says_so():
    images = torch.randn(1, 3, 64, 64)
    with pytest.raises(UserError, match="attention maps need a plain ViT, got TimmSwin"):
        view_block(build(), images)
    with pytest.raises(UserError, match="images of 64x48 are not a multiple of the patch 32x32 of TimmSwin"):
        build().embed(images[..., :48])
