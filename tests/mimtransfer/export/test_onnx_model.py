"""ONNX Runtime computes what our backbone computes, for any number of images and, where asked for, any size."""
import json
import sys

import onnx
import onnxruntime
import pytest
import torch
from exported import checkpoint, images
from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.export.folder import new_folder
from mimtransfer.export.onnx_model import write_onnx
from mimtransfer.export.source import all_tokens, read_source
from mimtransfer.registry import MODELS


def exported(tmp_path, path, *args):
    with new_folder(tmp_path / "out") as folder:
        line = write_onnx(read_source(path), folder, *args)
    return onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx")), line


def compare(session, batch, expected):
    found = session.run(None, {"images": batch.numpy()})
    assert len(found) == len(expected)
    for theirs, ours in zip(found, expected):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-4)


@torch.no_grad()
def test_maps_of_any_size(tmp_path):
    path, vit = checkpoint(tmp_path, out_indices=(0, 1))
    session, line = exported(tmp_path, path, "maps", 18, True)
    assert line.startswith("ONNX of opset 18, 2 x maps")
    for batch in (images(32, 32), images(48, 24)[:1], images(16, 64)):
        compare(session, batch, vit(batch))
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["input"] == {"name": "images", "dtype": "float32", "multiple_of": [8, 8],
                               "shape": ["batch", 3, "height", "width"]}
    assert config["outputs"] == [{"name": f"map{i}", "channels": 48, "strides": [8, 8]} for i in range(2)]
    assert config["pixels"]["mean"] == [value / 255 for value in (100.0, 110.0, 120.0)]


@torch.no_grad()
def test_the_class_token_at_another_opset(tmp_path):
    path, vit = checkpoint(tmp_path, img_size=(32, 16))
    session, _ = exported(tmp_path, path, "pooled", 20)
    compare(session, images(32, 16), [all_tokens(vit, images(32, 16))[:, 0]])
    assert session.get_inputs()[0].shape[1:] == [3, 32, 16]


@torch.no_grad()
def test_all_tokens_with_a_relative_position_bias(tmp_path):
    path, vit = checkpoint(tmp_path, rel_pos="bias", pos_embed="none", layer_scale=0.1)
    session, _ = exported(tmp_path, path, "tokens")
    compare(session, images(32, 32), [all_tokens(vit, images(32, 32))])


@torch.no_grad()
def test_windows_of_a_detector(tmp_path):
    options = dict(window_size=2, global_blocks=(1,), rel_pos="decomposed", img_size=48)
    detector = dict(type="MaskRCNN", roi_head={}, backbone=dict(type="TimmViT", arch="vit_tiny_patch16_224",
                    patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3), **options))
    path, vit = checkpoint(tmp_path, model=detector, **options)
    session, line = exported(tmp_path, path)
    assert line.endswith("the backbone alone, without the heads, which need mmdeploy")
    compare(session, images(48, 48), vit(images(48, 48)))


@torch.no_grad()
def test_a_cnn(tmp_path):
    config = dict(type="TimmCNN", arch="resnet18", img_size=64, out_indices=(0, 1, 2, 3))
    torch.manual_seed(0)
    backbone = MODELS.build(config).eval()
    torch.save({"state_dict": {f"encoder.{key}": value for key, value in backbone.state_dict().items()},
                "meta": {"cfg": Config(dict(model=dict(type="MFM", encoder=config))).pretty_text}}, tmp_path / "a.pth")
    session, _ = exported(tmp_path, str(tmp_path / "a.pth"), "maps", 18, True)
    batch = images(96, 64)
    for theirs, ours in zip(session.run(None, {"images": batch.numpy()}), backbone(batch), strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("options", "args", "why"), [
    (dict(window_size=2), ("maps", 18, True), "windows are cut by the size of the images"),
    (dict(rel_pos="decomposed"), ("tokens",), "no sequence of all tokens"),
    ({}, ("maps", 17), "--opset 17: expected 18 to "),
    ({}, ("maps", 999), "--opset 999: expected 18 to "),
])
def test_what_cannot_be_is_refused(options, args, why, tmp_path):
    path, _ = checkpoint(tmp_path, **options)
    with pytest.raises(UserError, match=why) as error:
        exported(tmp_path, path, *args)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_a_package(package, tmp_path, monkeypatch):
    path, _ = checkpoint(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"--to onnx needs {package}, which is not installed"):
        exported(tmp_path, path)
