"""Converting a checkpoint: the target's own code takes the file, and back again every tensor is the same."""
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from vit_families import BEIT, CASES, IMAGES, WINDOWS, backbone, dinov2, random_state, sam, tokens

from mimtransfer.checkpoints.convert import convert
from mimtransfer.checkpoints.formats import pretraining_of, read_format
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError

ROOT = Path(__file__).parents[3]
PRETRAINING = {"method": "MAE", "epoch": 3, "grid": [4, 4]}
KINDS = {
    "plain": ({}, ("mimtransfer", "timm", "detectron2", "huggingface")),
    "non-square": (dict(img_size=(32, 16)), ("mimtransfer", "timm", "detectron2", "huggingface")),
    "windows": (dict(window_size=2, rel_pos="decomposed"), ("mimtransfer", "detectron2")),
    "layer scale": (dict(layer_scale=0.1), ("mimtransfer", "timm", "huggingface")),
    "registers": (dict(arch="vit_small_patch14_reg4_dinov2"), ("mimtransfer", "timm")),
    "beit": (BEIT, ("mimtransfer", "timm", "huggingface")),
    "clip": (dict(arch="vit_base_patch16_clip_quickgelu_224"), ("mimtransfer", "timm", "huggingface")),
}


def source_file(kind, folder):
    """Write a checkpoint of our pretraining; return its encoder and its path."""
    vit = backbone(**KINDS[kind][0])
    state = random_state(vit)
    if kind == "beit":  # has no biases of keys
        for name in [name for name in state if name.endswith("qkv.bias")]:
            state[name][48:96] = 0
    meta = {**PRETRAINING, "grid": list(vit.grid_size)}
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in state.items()}, "meta": {"mimtransfer": meta}},
               folder / "source.pth")
    return state, folder / "source.pth", meta


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_permissions_follow_the_umask(suffix, tmp_path):
    """The library lets nobody but the owner read a .safetensors file."""
    _, source, _ = source_file("plain", tmp_path)
    before = os.umask(0o027)
    try:
        convert(source, tmp_path / f"there{suffix}", "timm")
    finally:
        os.umask(before)
    assert (tmp_path / f"there{suffix}").stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"source.pth", f"there{suffix}"}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(("kind", "to"), [(kind, to) for kind in KINDS for to in KINDS[kind][1]])
def test_there_and_back(kind, to, suffix, tmp_path):
    state, source, meta = source_file(kind, tmp_path)
    there, back = tmp_path / f"there{suffix}", tmp_path / f"back{suffix}"
    line = convert(source, there, to)
    assert "left out" not in line and "\n" not in line
    convert(there, back, "mimtransfer")
    checkpoint = read_checkpoint(back)
    encoder = read_format(checkpoint).encoder
    assert set(encoder) == set(state)
    assert all(torch.equal(encoder[name], state[name]) for name in state)
    if (to, suffix) != ("huggingface", ".pth"):  # torch's files of Hugging Face hold nothing but tensors
        assert pretraining_of(checkpoint) == meta
    assert there.stat().st_size < 1.3 * source.stat().st_size  # no tensor brings the memory of others along


def names_and_shapes(state):
    return {name: list(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(("kind", "case"), [("plain", "hf_vitmae"), ("beit", "hf_beit"), ("clip", "hf_clip"),
                                            ("layer scale", "hf_dinov2")])
def test_huggingface_names_and_shapes(kind, case, tmp_path):
    _, source, _ = source_file(kind, tmp_path)
    convert(source, tmp_path / "hf.safetensors", "huggingface")
    with safe_open(tmp_path / "hf.safetensors", "pt") as file:
        got = {name.removeprefix("beit."): file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        assert file.metadata()["format"] == "pt"  # transformers refuses files without
    published = CASES[f"{case}_transformers4"]["shapes"]
    foreign = ("decoder", "embeddings.mask_token", "pooler")
    assert got == {name: shape for name, shape in published.items()
                   if not name.startswith(foreign) and "relative_position_index" not in name}


def test_timm_takes_beit(tmp_path):
    state, source, _ = source_file("beit", tmp_path)
    convert(source, tmp_path / "timm.pth", "timm")
    model = timm.create_model("beit_base_patch16_224", img_size=32, patch_size=8, init_values=0.1, num_classes=0,
                              global_pool="", embed_dim=48, depth=2, num_heads=3).eval()
    model.load_state_dict(torch.load(tmp_path / "timm.pth", weights_only=True)["state_dict"], strict=True)
    vit = backbone(**BEIT)
    vit.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(IMAGES)[:, 1:], tokens(vit), rtol=1e-4, atol=1e-5)


def test_biases_of_keys_are_left_out_and_said(tmp_path):
    random_state(vit := backbone(**BEIT))
    torch.save(vit.state_dict(), tmp_path / "a.pth")
    assert "left out, without effect: blocks.0.attn.qkv.bias of keys" in convert(
        tmp_path / "a.pth", tmp_path / "timm.pth", "timm")
    load_backbone(other := backbone(**BEIT), tmp_path / "timm.pth")
    torch.testing.assert_close(tokens(other), tokens(vit.eval()), rtol=1e-4, atol=1e-5)


def test_timm_takes_dinov2_with_registers(tmp_path):
    source, state = dinov2(chunks=False)
    torch.save(state, tmp_path / "dinov2.pth")
    assert "no part of the encoder: mask_token" in convert(tmp_path / "dinov2.pth", tmp_path / "timm.pth", "timm")
    model = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=32, patch_size=8, num_classes=0,
                              global_pool="", embed_dim=48, depth=2, num_heads=3).eval()
    model.load_state_dict(torch.load(tmp_path / "timm.pth", weights_only=True)["state_dict"], strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(IMAGES), source.forward_features(IMAGES))


@pytest.mark.parametrize("way", [("timm",), ("detectron2", "timm"), ("mimtransfer", "detectron2", "timm")])
def test_sam_travels_and_timm_takes_it(way, tmp_path):
    state = random_state(source := sam())
    file = {f"image_encoder.{re.sub('mlp.fc', 'mlp.lin', name)}": value for name, value in state.items()}
    torch.save(file, path := tmp_path / "sam.pth")
    for i, to in enumerate(way):
        line = convert(path, path := tmp_path / f"{i}.safetensors", to)
        assert "left out" not in line
    assert {k: v.tolist() for k, v in read_checkpoint(path).items()} == {k: v.tolist() for k, v in state.items()}
    load_backbone(vit := backbone(**WINDOWS), path)
    with torch.no_grad():
        torch.testing.assert_close(vit(IMAGES)[-1], source.forward_features(IMAGES), rtol=1e-4, atol=1e-5)


def test_windows_of_timm_have_no_class_token(tmp_path):
    _, source, _ = source_file("windows", tmp_path)
    assert "left out, without effect: cls_token" in convert(source, tmp_path / "timm.pth", "timm")
    assert read_checkpoint(tmp_path / "timm.pth")["state_dict"]["pos_embed"].shape == (1, 4, 4, 48)


@pytest.mark.parametrize(("kind", "to", "says"), [
    ("layer scale", "detectron2", "detectron2 ViTDet has no place for blocks.0.ls1.gamma"),
    ("windows", "huggingface", "has no place for blocks.0.attn.rel_pos_h"),
    ("registers", "detectron2", "has no place for reg_token"),
])
def test_what_has_no_place_is_refused(kind, to, says, tmp_path):
    _, source, _ = source_file(kind, tmp_path)
    with pytest.raises(UserError, match=says):
        convert(source, tmp_path / "out.pth", to)
    assert not (tmp_path / "out.pth").exists()


def test_wrong_targets_and_sources(tmp_path):
    _, source, _ = source_file("plain", tmp_path)
    torch.save({"head.weight": torch.ones(2)}, tmp_path / "head.pth")
    for one, other, says in ((source, source, "exists: remove it"), (source, tmp_path / "a.onnx", "ends in .safe"),
                             (source, tmp_path / "no" / "a.pth", "does not exist"),
                             (tmp_path / "head.pth", tmp_path / "a.pth", "no encoder that is known .it has 'head.wei")):
        with pytest.raises(UserError, match=says):
            convert(one, other, "timm")


class Touch:
    """Pickle as a command that leaves a file behind."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.witness}",)


def test_the_tool_refuses_a_command_in_one_line(tmp_path):
    arrays = {"model": {"w": np.ones(2, np.float32), "x": Touch(tmp_path / "witness")}}
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(arrays))
    tool = [sys.executable, str(ROOT / "tools" / "convert_checkpoint.py")]
    done = subprocess.run([*tool, tmp_path / "bad.pkl", tmp_path / "b.pth", "--to", "timm"], capture_output=True,
                          text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "system, which is not loaded" in done.stderr
    assert not (tmp_path / "witness").exists()
