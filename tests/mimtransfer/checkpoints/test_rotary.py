"""ViTs with rotary positions are named and refused: their tensors are those of a plain ViT."""
import re

import pytest
import timm
import torch
from vit_families import SMALL, backbone, random_state

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.convert import convert
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

DINOV3 = dict(arch="vit_small_patch14_reg4_dinov2", pos_embed="none", layer_scale=0.1,
              model_kwargs=dict(SMALL, qkv_bias=True))
PLAIN = dict(pos_embed="none", layer_scale=0.1)


def timm_state(arch: str, **options) -> dict[str, torch.Tensor]:
    model = timm.create_model(arch, img_size=32, patch_size=8, num_classes=0, **SMALL, **options)
    assert model.rope is not None
    return random_state(model)


def official_dinov3() -> dict[str, torch.Tensor]:
    state = {name.replace("gamma_", "ls").replace("reg_token", "storage_tokens"): value
             for name, value in timm_state("vit_small_patch16_dinov3_qkvb").items()}
    state = {re.sub(r"(ls\d)$", r"\1.gamma", name): value for name, value in state.items()}
    return state | {"rope_embed.periods": torch.ones(4), "mask_token": torch.ones(1, 48)}


FILES = {
    "dinov3-official": (official_dinov3, DINOV3, "DINOv3"),
    "dinov3-timm": (lambda: timm_state("vit_small_patch16_dinov3"), DINOV3, "DINOv3"),
    "dinov3-timm-bias": (lambda: timm_state("vit_small_patch16_dinov3_qkvb"), DINOV3, "DINOv3"),
    "dinov3-sincos": (lambda: timm_state("vit_small_patch16_dinov3_qkvb"), dict(DINOV3, pos_embed="sincos"), "DINOv3"),
    "dinov3-hf": (lambda: {"embeddings.register_tokens": torch.ones(1, 4, 48), "embeddings.cls_token": torch.ones(1),
                           "layer.0.attention.q_proj.weight": torch.ones(48, 48)}, DINOV3, "DINOv3"),
    "rope-vit-axial": (lambda: timm_state("vit_small_patch16_rope_224"), PLAIN, "RoPE-ViT"),
    "rope-vit-axial-learned": (lambda: timm_state("vit_small_patch16_rope_224"), dict(layer_scale=0.1), "RoPE-ViT"),
    "rope-vit-mixed": (lambda: timm_state("vit_small_patch16_rope_mixed_224"), PLAIN, "RoPE-ViT"),
    "rope-vit-mixed-ape": (lambda: timm_state("vit_small_patch16_rope_mixed_ape_224"), PLAIN, "RoPE-ViT"),
    "rope-vit-registers": (lambda: timm_state("vit_medium_patch16_rope_reg1_gap_256"), PLAIN, "RoPE-ViT"),
    "eva02-official": (lambda: timm_state("eva02_tiny_patch14_224") | {"rope.freqs_cos": torch.ones(16, 16)}, {},
                       "EVA-02"),
    "eva02-inside": (lambda: {f"visual.{name}": value for name, value in timm_state("eva02_tiny_patch14_224").items()}
                     | {"visual.blocks.0.attn.rope.freqs_cos": torch.ones(16, 16)}, {}, "EVA-02"),
    "pe-spatial": (lambda: timm_state("vit_pe_spatial_tiny_patch16_512"),
                   dict(arch="vit_base_patch16_clip_224", final_norm=False), "Perception Encoder"),
    "pe-core": (lambda: timm_state("vit_pe_core_tiny_patch16_384"), dict(arch="vit_base_patch16_clip_224"),
                "Perception Encoder"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_rotary_positions_is_refused_by_its_family(name, tmp_path):
    make, options, family = FILES[name]
    torch.save(make(), tmp_path / "rope.pth")
    vit = backbone(**options)
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    with pytest.raises(UserError, match=f"is of {family}, whose positions are rotary") as error:
        load_backbone(vit, tmp_path / "rope.pth")
    assert "pos_embed='none'" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())
    with pytest.raises(UserError, match=f"is of {family}|no encoder that is known"):
        convert(tmp_path / "rope.pth", tmp_path / "as_timm.pth", "timm")


def test_a_vit_without_any_position_is_refused_but_fixed_positions_need_not_be_in_the_file(tmp_path):
    source = backbone()
    state = {name: value for name, value in source.state_dict().items() if name != "pos_embed"}
    torch.save(state, tmp_path / "bare.pth")
    for options in ({}, dict(pos_embed="none")):
        with pytest.raises(UserError, match="has no position embedding and no relative positions") as error:
            load_backbone(backbone(**options), tmp_path / "bare.pth")
        assert "pos_embed='none'" not in str(error.value)
    assert load_backbone(backbone(pos_embed="sincos"), tmp_path / "bare.pth").expected_missing == ["pos_embed"]


def test_a_backbone_of_ours_without_positions_is_read_again(tmp_path):
    vit: TimmViT = backbone(pos_embed="none")
    torch.save({"state_dict": {f"encoder.{name}": value for name, value in vit.state_dict().items()},
                "meta": {"mimtransfer": {"kind": "pretrain"}}}, tmp_path / "ours.pth")
    assert not load_backbone(backbone(pos_embed="none"), tmp_path / "ours.pth").missing
