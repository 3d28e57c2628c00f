"""Transformers loads what is exported, whole, and computes the tokens of our backbone."""
import json
import sys

import pytest
import torch
import transformers
from exported import EVA, checkpoint, images
from safetensors import safe_open
from vit_families import SMALL

from mimtransfer.errors import UserError
from mimtransfer.export import huggingface
from mimtransfer.export.folder import new_folder
from mimtransfer.export.huggingface import write_huggingface
from mimtransfer.export.source import all_tokens, read_source

CASES = {
    "plain": ({}, "ViTModel"),
    "fixed sines and cosines": (dict(pos_embed="sincos"), "ViTModel"),
    "no positions": (dict(pos_embed="none"), "ViTModel"),
    "not square": (dict(img_size=(32, 16)), "ViTModel"),
    "patches not square": (dict(patch_size=(8, 4)), "ViTModel"),
    "one channel": (dict(in_chans=1), "ViTModel"),
    "QuickGELU": (dict(model_kwargs=dict(**SMALL, act_layer="quick_gelu")), "ViTModel"),
    "no bias of queries, keys and values": (dict(model_kwargs=dict(**SMALL, qkv_bias=False)), "ViTModel"),
    "layer scale": (dict(layer_scale=0.1), "Dinov2Model"),
    "DINOv2": (dict(arch="vit_small_patch14_dinov2"), "Dinov2Model"),
    "registers without positions": (dict(arch="vit_small_patch14_reg4_dinov2"), "Dinov2WithRegistersModel"),
    "registers with positions": (dict(model_kwargs=dict(**SMALL, reg_tokens=3)), "Dinov2WithRegistersModel"),
    "BEiT": (dict(rel_pos="bias", pos_embed="none", layer_scale=0.1), "BeitModel"),
    "bias and positions": (dict(rel_pos="bias"), "BeitModel"),
    "DINOv3": (dict(arch="vit_small_patch16_dinov3", model_kwargs=EVA), "DINOv3ViTModel"),
    "DINOv3 with biases": (dict(arch="vit_small_patch16_dinov3_qkvb", model_kwargs=EVA), "DINOv3ViTModel"),
    "DINOv3 with gates": (dict(arch="vit_small_plus_patch16_dinov3", model_kwargs=EVA), "DINOv3ViTModel"),
}


def exported(tmp_path, to_size=None, **options):
    path, vit = checkpoint(tmp_path, **options)
    with new_folder(tmp_path / "out") as folder:
        line = write_huggingface(read_source(path, img_size=to_size), folder)
    return vit, tmp_path / "out", line


@torch.no_grad()
def theirs(folder, batch, **options):
    model, report = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return type(model).__name__, model.eval()(pixel_values=batch)


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_ours(case, tmp_path):
    options, model = CASES[case]
    vit, folder, line = exported(tmp_path, **options)
    batch = images(*vit.img_size, channels=vit.in_chans)
    name, output = theirs(folder, batch)
    assert name == model and line.startswith(f"{model} of Transformers")
    own = all_tokens(vit, batch)
    torch.testing.assert_close(output.last_hidden_state, own, rtol=0, atol=1e-5)
    # No random pooler: AutoModel's hands on the class token.
    torch.testing.assert_close(output.pooler_output, own[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, dict(layer_scale=0.1), dict(pos_embed="sincos")])
def test_epsilon_of_the_norms_is_ours(options, tmp_path):
    """With 1e-12, the default of ViTConfig, such tokens become others."""
    vit, folder, _ = exported(tmp_path, flat=True, **options)
    batch = images(32, 32)
    torch.testing.assert_close(theirs(folder, batch)[1].last_hidden_state, all_tokens(vit, batch), rtol=0, atol=1e-5)
    if not options:
        wrong = theirs(folder, batch, layer_norm_eps=1e-12)[1].last_hidden_state
        assert (wrong - all_tokens(vit, batch)).abs().max() > 100 * 1e-5


@pytest.mark.parametrize(("options", "size"), [({}, (48, 24)), (dict(pos_embed="sincos"), 40),
                                               (dict(layer_scale=0.1), 48), (dict(arch="vit_small_patch14_dinov2"), 16),
                                               (dict(img_size=(32, 16)), 32)])
def test_positions_are_resampled_as_for_our_transfer(options, size, tmp_path):
    vit, folder, _ = exported(tmp_path, to_size=size, **options)
    batch = images(*(size if isinstance(size, tuple) else (size, size)))
    own = all_tokens(vit, batch)
    if options.get("pos_embed") == "sincos":  # for another size the table is made anew only where a file has none
        own = all_tokens(read_source(str(tmp_path / "epoch_3.pth"), img_size=size).backbone, batch)
    torch.testing.assert_close(theirs(folder, batch)[1].last_hidden_state, own, rtol=0, atol=1e-5)


def test_registers_take_images_of_other_shapes(tmp_path):
    vit, folder, _ = exported(tmp_path, arch="vit_small_patch14_reg4_dinov2")
    batch = images(48, 24)
    torch.testing.assert_close(theirs(folder, batch)[1].last_hidden_state, all_tokens(vit, batch), rtol=0, atol=1e-5)


def test_rotary_positions_take_images_of_other_shapes(tmp_path):
    vit, folder, _ = exported(tmp_path, arch="vit_small_patch16_dinov3", model_kwargs=EVA)
    batch = images(48, 24)
    torch.testing.assert_close(theirs(folder, batch)[1].last_hidden_state, all_tokens(vit, batch), rtol=0, atol=1e-5)


def test_files_say_where_they_come_from_and_anyone_may_read_them(tmp_path):
    _, folder, _ = exported(tmp_path)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["mimtransfer"])["run_id"] == "run-7"
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_3.pth", "out"]


REFUSED = {
    "windows": (dict(window_size=2), "ViTDet's windows or decomposed relative positions"),
    "decomposed": (dict(rel_pos="decomposed"), "ViTDet's windows or decomposed relative positions"),
    "norms behind": (dict(post_norm=True), "norms behind its sums"),
    "no final norm": (dict(final_norm=False), "no final norm"),
    "cut": (dict(out_indices=(0,)), "no final norm"),
    "no class token": (dict(arch="vit_medium_patch16_gap_240"), "no class token"),
    "CLIP": (dict(arch="vit_base_patch16_clip_quickgelu_224"), "a norm before its blocks"),
    "normed queries": (dict(model_kwargs=dict(**SMALL, qk_norm=True)), "normalises its queries and keys"),
    "EVA-02": (dict(arch="eva02_tiny_patch14_224", model_kwargs=EVA), "rotary positions of EVA-02"),
    "RoPE-ViT": (dict(arch="vit_small_patch16_rope_mixed_224", model_kwargs=EVA), "rotary positions of RoPE-ViT"),
    "BEiT not square": (dict(rel_pos="bias", img_size=(32, 16)), "--img-size"),
    "DINOv2 not square": (dict(layer_scale=0.1, img_size=(32, 16)), "--img-size"),
    "GELU of another kind": (dict(model_kwargs=dict(**SMALL, act_layer="mish")), "the activation Mish"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_is_refused(case, tmp_path):
    options, why = REFUSED[case]
    with pytest.raises(UserError) as error:
        exported(tmp_path, **options)
    said = str(error.value)
    assert why in said and "epoch_3.pth" in said and "--to onnx" in said and "\n" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_3.pth"]  # nothing half written


def test_a_model_that_computes_otherwise_is_not_written(tmp_path, monkeypatch):
    sizes = huggingface._sizes
    monkeypatch.setattr(huggingface, "_sizes", lambda *args: {**sizes(*args), "num_attention_heads": 2})
    with pytest.raises(UserError, match="computes other features"):
        exported(tmp_path)
    assert not (tmp_path / "out").exists()


def test_without_transformers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers, which is not installed: .*'mimtransfer\[export\]"):
        exported(tmp_path)


@pytest.mark.parametrize("positions", ["rel_pos_h", "relative_position_bias_table"])
def test_relative_positions_that_the_architecture_lacks_are_refused(positions, tmp_path):
    path, vit = checkpoint(tmp_path)
    state = {f"backbone.{name}": value for name, value in vit.state_dict().items()}
    state |= {f"backbone.blocks.{number}.attn.{positions}": torch.ones(7, 3) for number in range(len(vit.blocks))}
    torch.save({**torch.load(path, weights_only=True), "state_dict": state}, path)
    with pytest.raises(UserError, match=rf"attends by relative positions \(blocks.0.attn.{positions}\)"):
        read_source(path)
