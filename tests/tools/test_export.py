"""tools/export.py from end to end, on checkpoints made here."""
import json
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from doc_blocks import ROOT, blocks
from exported import checkpoint, images
from PIL import Image
from trained_models import FCN, normalised, one_map, pixels, trained

from mimtransfer.export.source import all_tokens

TOOL = Path(__file__).resolve().parents[2] / "tools" / "export.py"


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, args)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(TOOL), run_name="__main__")


def fails(monkeypatch, capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *args)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def test_a_folder_for_transformers_is_whole_and_uploaded(tmp_path, monkeypatch, capsys):
    from transformers import AutoImageProcessor, AutoModel

    calls = []

    class Hub:
        def create_repo(self, **kwargs):
            pass

        def upload_folder(self, **kwargs):
            calls.append(kwargs)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    path, vit = checkpoint(tmp_path)
    out = tmp_path / "out"
    run(monkeypatch, path, out, "--to", "huggingface", "--push", "me/mae")
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.safetensors",
                                                           "preprocessor_config.json"]
    printed = capsys.readouterr().out
    assert "ViTModel of Transformers" in printed and "uploaded: https://huggingface.co/me/mae" in printed
    assert calls == [dict(repo_id="me/mae", folder_path=str(out))]
    batch = images(32, 32)
    with torch.no_grad():
        tokens = AutoModel.from_pretrained(out).eval()(batch).last_hidden_state
    torch.testing.assert_close(tokens, all_tokens(vit, batch), rtol=0, atol=1e-5)
    assert list(AutoImageProcessor.from_pretrained(out).image_std) == [value / 255 for value in (50, 60, 70)]
    assert "ViTModel.from_pretrained('out')" in (out / "README.md").read_text()


def test_a_checkpoint_of_another_codebase_is_named_by_its_architecture(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    assert "--arch vit_base_patch16_224" in fails(monkeypatch, capsys, tmp_path / "vit.pth", tmp_path / "out",
                                                  "--to", "timm")
    run(monkeypatch, tmp_path / "vit.pth", tmp_path / "out", "--to", "timm", "--arch", "vit_tiny_patch16_224",
        "--img-size", 64, 32)
    assert "normalised by mean and std of ImageNet" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 32]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# vit, vit_tiny_patch16_224" in card and "The file says nothing of it (timm)" in card
    assert not (tmp_path / "out" / "preprocessor_config.json").exists()  # timm's is in `pretrained_cfg`


def test_a_segmentor_is_written_from_pixels_to_classes(tmp_path, monkeypatch, capsys):
    from onnxruntime import InferenceSession

    path, config, model = trained(tmp_path, one_map(FCN))
    out = tmp_path / "out"
    run(monkeypatch, path, out, "--to", "onnx", "--output", "predictions", "--config", config, "--img-size", 32, 48)
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.onnx"]
    assert "Predictions in ONNX of opset 18, EncoderDecoder, images of 32 x 48" in capsys.readouterr().out
    logits, classes = InferenceSession(out / "model.onnx").run(None, {"images": pixels(32, 48).numpy()})
    with torch.no_grad():
        ours = torch.nn.functional.interpolate(model(normalised(pixels(32, 48))), (32, 48), mode="bilinear")
    torch.testing.assert_close(torch.from_numpy(logits), ours, rtol=0, atol=1e-4)
    assert (torch.from_numpy(classes) == ours.argmax(1)).float().mean() > 0.99
    card = (out / "README.md").read_text()
    assert "pipeline_tag: image-segmentation" in card and "R G B in 0 ... 255" in card
    assert "normalises them itself" in card and "Pixels in 0 ... 1" not in card


def test_the_lines_of_the_page_run(tmp_path, monkeypatch):
    """docs/export.md, on folders of these names."""
    path, vit = checkpoint(tmp_path)
    run(monkeypatch, path, tmp_path / "exported/mae", "--to", "huggingface")
    run(monkeypatch, path, tmp_path / "exported/mae-timm", "--to", "timm")
    path, config, _ = trained(tmp_path, one_map(FCN))
    run(monkeypatch, path, tmp_path / "exported/segmentor", "--to", "onnx", "--output", "predictions", "--config",
        config, "--img-size", 512)
    Image.new("RGB", (640, 480), (200, 30, 90)).save(tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    known = {"timm": timm, "images": images(32, 32)}
    for text in blocks(ROOT / "docs/export.md", "python"):
        with torch.no_grad():
            exec(compile(text, "docs/export.md", "exec"), known)
        if "features" in known:
            torch.testing.assert_close(known["features"], all_tokens(vit, images(32, 32)), rtol=0, atol=1e-5)
            known["seen"] = known.pop("features").shape
    assert known["seen"] == (2, 17, 48) and known["class_map"].shape == (1, 512, 512)
    assert known["processor"].size and type(known["model"]).__name__ == "VisionTransformer"  # timm's is the later one


@pytest.mark.parametrize(("args", "why"), [
    (("--to", "huggingface", "--decoder", "--img-size", "64"), "--decoder goes with --to huggingface"),
    (("--to", "timm", "--decoder"), "--decoder goes with --to huggingface"),
    (("--to", "timm", "--img-size", "0"), "--img-size: expected one side"),
    (("--to", "timm", "--img-size", "30"), "not a multiple of the patch"),
    (("--to", "timm", "--records", "nowhere"), "no such file or folder"),
    (("--to", "timm", "--output", "predictions"), "--output predictions goes with --to onnx"),
    (("--to", "onnx", "--output", "predictions", "--arch", "vit_tiny_patch16_224"), "without --arch"),
    (("--to", "onnx", "--output", "predictions"), "a pretraining predicts no classes"),
])
def test_wrong_options_end_in_one_line(args, why, tmp_path, monkeypatch, capsys):
    path, _ = checkpoint(tmp_path)
    assert why in fails(monkeypatch, capsys, path, tmp_path / "out", *args)
    assert not (tmp_path / "out").exists()


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch, capsys):
    path, _ = checkpoint(tmp_path, model={"type": "MAE", "encoder": {"type": "os.system", "arch": "true"}})
    assert "which a file may not build" in fails(monkeypatch, capsys, path, tmp_path / "out", "--to", "timm")
