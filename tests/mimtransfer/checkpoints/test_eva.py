"""Files of EVA-02, DINOv3 and RoPE-ViT load completely, and the features are timm's; another arch is refused by name.

Files of their authors and of Hugging Face are made from timm's, whose own `checkpoint_filter_fn` reads the former; the
names of the latter are those of transformers 4.56's `DINOv3ViTModel`.
"""
import re

import pytest
import timm
import torch
from timm.models.eva import checkpoint_filter_fn
from vit_families import IMAGES, SMALL, random_state

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.convert import convert
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

DINOV3, SWIGLU = "vit_small_patch16_dinov3_qkvb", "vit_small_plus_patch16_dinov3_qkvb"
ARCHS = (DINOV3, SWIGLU, "vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "eva02_base_patch14_224",
         "eva02_base_patch16_clip_224", "vit_small_patch16_rope_224", "vit_small_patch16_rope_mixed_224",
         "vit_small_patch16_rope_ape_224", "vit_medium_patch16_rope_reg1_gap_256", "vit_pe_core_tiny_patch16_384")


def source(arch, **options):
    model = timm.create_model(arch, img_size=32, patch_size=8, num_classes=0, **SMALL, **options)
    return model, random_state(model)


def backbone(arch, **options):
    return TimmViT(arch, **{"img_size": 32, "patch_size": 8, "model_kwargs": SMALL, **options}).eval()


def renamed(state, *pairs):
    for pattern, name in pairs:
        state = {re.sub(pattern, name, old): value for old, value in state.items()}
    return state


def official_dinov3(arch):
    """Biases of queries, keys and values are one tensor, and its mask leaves out what keys are added."""
    model, state = source(arch)
    for block in ("blocks.0.attn.", "blocks.1.attn."):
        q, v = state.pop(f"{block}q_bias"), state.pop(f"{block}v_bias")
        state[f"{block}qkv.bias"] = torch.cat([q, torch.ones_like(q), v])
        state[f"{block}qkv.bias_mask"] = torch.cat([torch.ones_like(q), torch.zeros_like(q), torch.ones_like(v)])
    state = renamed(state, ("gamma_(.)", r"ls\1.gamma"), ("reg_token", "storage_tokens"), ("fc1_g", "w1"),
                    ("fc1_x", "w2"), ("mlp.fc2", "mlp.w3" if arch == SWIGLU else "mlp.fc2"))
    return model, state | {"rope_embed.periods": torch.ones(4), "mask_token": torch.ones(1, 48)}


def hugging_face(arch):
    model, state = source(arch)
    for block in ("blocks.0.attn.", "blocks.1.attn."):
        for part, value in zip("qkv", state.pop(f"{block}qkv.weight").chunk(3)):
            state[f"{block}{part}_proj.weight"] = value
    pairs = (("gamma_(.)", r"layer_scale\1.lambda1"), ("([qv])_bias", r"\1_proj.bias"), ("fc1_g", "gate_proj"),
             ("fc1_x|fc1", "up_proj"), ("fc2", "down_proj"), ("attn.proj", "attention.o_proj"), ("attn", "attention"),
             ("^blocks", "layer"), ("^(cls_token)", r"embeddings.\1"), ("^reg_token", "embeddings.register_tokens"),
             ("^patch_embed.proj", "embeddings.patch_embeddings"))
    return model, renamed(state, *pairs) | {"embeddings.mask_token": torch.ones(1, 1, 48)}


def official_eva02(arch):
    """Of pretraining: with the final norm, a mask token and the layer that predicts."""
    model, state = source(arch, use_fc_norm=False)
    assert "norm.weight" in state
    pairs = [("fc1_g", "w1"), ("fc1_x", "w2"), ("mlp.norm", "mlp.ffn_ln"), ("attn.norm", "attn.inner_attn_ln"),
             ("([qv])_proj.bias", r"\1_bias"), ("mlp.fc2", "mlp.w3"), ("mlp.fc1", "mlp.w12")]
    added = {"mask_token": torch.ones(1, 1, 48), "lm_head.weight": torch.ones(2, 48), "lm_head.bias": torch.ones(2)}
    rope = {f"{at}rope.freqs_{kind}": torch.ones(16, 16) for at in ("", "blocks.0.attn.") for kind in ("cos", "sin")}
    return model, renamed(state, *pairs) | added | rope


FILES = {
    **{f"timm-{arch}": (arch, lambda arch=arch: source(arch)) for arch in ARCHS},
    **{f"official-{arch}": (arch, lambda arch=arch: official_dinov3(arch)) for arch in (DINOV3, SWIGLU)},
    **{f"hf-{arch}": (arch, lambda arch=arch: hugging_face(arch)) for arch in (DINOV3, SWIGLU)},
    **{f"official-{arch}": (arch, lambda arch=arch: official_eva02(arch))
       for arch in ("eva02_tiny_patch14_224", "eva02_base_patch14_224", "eva02_base_patch16_clip_224")},
    "dinov3-training": (DINOV3, lambda: training(official_dinov3(DINOV3))),
    "eva02-clip": ("eva02_base_patch16_clip_224", lambda: inside(official_eva02("eva02_base_patch16_clip_224"))),
}


def training(made):
    """The teacher in a training checkpoint, beside its head."""
    state = {f"backbone.{name}": value for name, value in made[1].items()}
    return made[0], {"teacher": {**state, "dino_head.mlp.0.weight": torch.ones(2)}, "student": {}}


def inside(made):
    return made[0], {f"visual.{name}": value for name, value in made[1].items() if "lm_head" not in name}


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_a_file_loads_completely_with_the_features_of_timm(name, tmp_path):
    arch, make = FILES[name]
    model, state = make()
    torch.save(state, tmp_path / "eva.pth")
    vit = backbone(arch)
    report = load_backbone(vit, tmp_path / "eva.pth")
    assert set(report.matched) == set(vit.state_dict()) and not report.missing and not report.resized
    foreign = ("mask_token", "lm_head.", "rope", "embeddings.mask_token", "dino_head.", "head.", "attn_pool.",
               "fc_norm", "visual.")
    assert all(left.startswith(foreign) or "attn.rope" in left or "bias_mask" in left for left in report.unexpected)
    grid = vit.patch_grid(IMAGES)
    found = vit.encode(vit.add_position(vit.embed(IMAGES), grid), grid)
    wanted = model.forward_features(IMAGES)
    if "norm.weight" not in model.state_dict():  # behind the pooling there
        wanted = model.fc_norm(wanted)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [f"official-{arch}" for arch in (DINOV3, SWIGLU, "eva02_tiny_patch14_224",
                                                                  "eva02_base_patch14_224")])
def test_files_that_are_made_here_are_what_timm_reads(name):
    model, state = FILES[name][1]()
    read = checkpoint_filter_fn(state, model)
    own = model.state_dict()
    read |= {name.replace("fc_norm", "norm"): value for name, value in read.items() if name.startswith("fc_norm")}
    assert own.keys() <= read.keys()
    assert all(torch.equal(read[name], value) for name, value in own.items())


def test_sizes_and_patches_are_brought_to_the_backbones(tmp_path):
    state = source("eva02_base_patch14_224")[1]
    torch.save(state, tmp_path / "eva.pth")
    report = load_backbone(backbone("eva02_base_patch14_224", img_size=(32, 64), patch_size=4), tmp_path / "eva.pth")
    assert report.resized["pos_embed"] == "grid 4x4 + 1 prefix -> grid 8x16 + 1 prefix"
    assert report.resized["patch_embed.proj.weight"] == "48x3x8x8 -> 48x3x4x4"


def test_biases_of_zeros_are_no_biases_and_others_are_refused(tmp_path):
    _, state = official_dinov3(DINOV3)
    torch.save(state, tmp_path / "biased.pth")
    with pytest.raises(UserError, match=r"inside its blocks that the backbone lacks: blocks\.\*\.attn\.q_bias \(2\), "):
        load_backbone(backbone("vit_small_patch16_dinov3"), tmp_path / "biased.pth")
    state = {name: torch.zeros_like(value) if name.endswith("qkv.bias") else value for name, value in state.items()}
    torch.save(state, tmp_path / "zeros.pth")
    report = load_backbone(backbone("vit_small_patch16_dinov3"), tmp_path / "zeros.pth")
    assert set(report.matched) == set(backbone("vit_small_patch16_dinov3").state_dict())


def test_a_bias_of_keys_acts_where_they_are_turned(tmp_path):
    """AttentionRope has one, EvaAttention not: the same tensors otherwise."""
    _, state = source("vit_small_patch16_rope_224")
    torch.save(state, tmp_path / "rope.pth")
    vit = backbone("vit_small_patch16_rope_224", model_kwargs=dict(SMALL, attn_type="eva"))
    with pytest.raises(UserError, match=r"that the backbone lacks: blocks\.\*\.attn\.k_bias"):
        load_backbone(vit, tmp_path / "rope.pth")


def whole(arch):
    """Zeros in the shapes of a whole architecture."""
    model = timm.create_model(arch, num_classes=0, device="meta")
    return {name: torch.zeros(value.shape) for name, value in model.state_dict().items()}


WRONG = {  # file, arch of the backbone, options, arch that is named
    "other-size": ("vit_small_patch16_dinov3", "vit_tiny_patch16_dinov3_qkvb", {}, "'vit_small_patch16_dinov3'"),
    "other-family": ("vit_small_patch16_dinov3", "eva02_tiny_patch14_224", {}, "'vit_small_patch16_dinov3'"),
    "plain": ("vit_tiny_patch16_dinov3_qkvb", "vit_tiny_patch16_224", {}, "'vit_tiny_patch16_dinov3_qkvb'"),
    "fewer-blocks": ("eva02_tiny_patch14_336", "eva02_tiny_patch14_224", dict(model_kwargs=dict(depth=1)),
                     "'eva02_tiny_patch14_336'"),
    "same-tensors": ("vit_small_patch16_rope_224", "vit_small_patch16_224", dict(layer_scale=1.0, pos_embed="none"),
                     "'vit_small_patch16_rope_224'"),
    "learned-angles": ("vit_small_patch16_rope_mixed_224", "vit_small_patch16_rope_224", {},
                       "'vit_small_patch16_rope_mixed_224'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_arch_is_refused_and_the_right_one_named(case, tmp_path):
    there, here, options, named = WRONG[case]
    torch.save(whole(there), tmp_path / "eva.pth")
    vit = TimmViT(here, **options)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with pytest.raises(UserError, match=f"build the backbone with arch={named}"):
        load_backbone(vit, tmp_path / "eva.pth")
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_a_plain_file_is_refused_by_a_rotary_backbone(tmp_path):
    """DeiT-3's tensors would fill RoPE-ViT without a gap, were it not for the positions that it adds."""
    torch.save(whole("deit3_small_patch16_224"), tmp_path / "plain.pth")
    for arch in ("vit_small_patch16_rope_224", "vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224"):
        with pytest.raises(UserError, match=f"without rotary positions, and the backbone's arch='{arch}' has"):
            load_backbone(TimmViT(arch), tmp_path / "plain.pth")


@pytest.mark.parametrize(("trained", "arch", "fits"), [
    ("vit_small_patch16_rope_224", "vit_small_patch16_rope_224", True),
    ("vit_small_patch16_rope_224", "vit_small_patch16_dinov3_qkvb", False),
    ("vit_small_patch16_rope_224", "vit_small_patch16_224", False),
    ("vit_small_patch16_224", "vit_small_patch16_rope_224", False),
])
def test_a_checkpoint_of_ours_says_its_arch(trained, arch, fits, tmp_path):
    state = {f"encoder.{name}": value for name, value in backbone(trained).state_dict().items()}
    torch.save({"state_dict": state, "meta": {"mimtransfer": {"kind": "pretrain", "arch": trained}}},
               tmp_path / "ours.pth")
    if fits:
        assert not load_backbone(backbone(arch), tmp_path / "ours.pth").unexpected
    else:
        with pytest.raises(UserError, match="would compute something else"):
            load_backbone(backbone(arch), tmp_path / "ours.pth")


def test_conversion_to_other_codebases_is_refused(tmp_path):
    torch.save(source(DINOV3)[1], tmp_path / "eva.pth")
    with pytest.raises(UserError, match="is of DINOv3, whose positions are rotary"):
        convert(tmp_path / "eva.pth", tmp_path / "converted.pth", "huggingface")
