"""tools/analyze_attention.py from end to end, on checkpoints made here."""
import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mimtransfer.backbones.vit import TimmViT

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analyze_attention.py"
ENCODER = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
               model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
PIXELS = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    state = np.random.RandomState(0)
    for i in range(5):
        Image.fromarray(state.randint(0, 256, (32, 32, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def build(seed: int) -> TimmViT:
    torch.manual_seed(seed)
    return TimmViT(**{key: value for key, value in ENCODER.items() if key != "type"}).eval()


def save(path: Path, encoder: TimmViT, attribute: str, model: dict | None = None) -> Path:
    """Write what a run of ours writes: weights under an attribute of the model, and the config as text."""
    state = {f"{attribute}.{name}": value for name, value in encoder.state_dict().items()}
    model = model or {"type": "MAE", attribute: {**ENCODER, "type": "mimtransfer.TimmViT"}, "data_preprocessor": PIXELS}
    meta = {"cfg": Config(dict(model=model)).pretty_text, "mimtransfer": {"run_id": path.stem, "grid": [4, 4]}}
    torch.save({"state_dict": state, "meta": meta}, path)
    return path


def run(monkeypatch, *args) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, args)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(TOOL), run_name="__main__")


def fails(monkeypatch, capsys, *args) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *args)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def first_block_scores(encoder: TimmViT, pixels: np.ndarray) -> dict[str, float]:
    """Score the first block on one image, in float64, straight from the weights."""
    encoder = encoder.double()
    x = (torch.from_numpy(pixels).permute(2, 0, 1).double() - torch.tensor(PIXELS["mean"]).view(3, 1, 1).double())
    x = (x / torch.tensor(PIXELS["std"]).view(3, 1, 1))[None]
    with torch.no_grad():
        tokens = encoder.patch_embed.proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([encoder.cls_token, tokens], 1) + encoder.pos_embed
        block = encoder.blocks[0]
        qkv = block.attn.qkv(block.norm1(tokens))[0]
    received, entropy = torch.zeros(16, dtype=torch.float64), 0.0
    for head in range(3):
        q, k = qkv[:, head * 16 : head * 16 + 16], qkv[:, 48 + head * 16 : 64 + head * 16]
        attention = (q @ k.T / 4).softmax(-1)
        received += attention[1:, 1:].sum(0)
        p = attention[0, 1:] / attention[0, 1:].sum()
        entropy += -(p * p.log()).sum().item() / math.log(16) / 3
    received /= received.sum()
    return {"top_share": received.max().item(), "max_over_mean": 16 * received.max().item(), "entropy": entropy}


def test_before_and_after(images, tmp_path, monkeypatch, capsys):
    before, after = build(0), build(1)
    first = save(tmp_path / "epoch_1.pth", before, "encoder")
    second = save(tmp_path / "iter_9.pth", after, "backbone")
    run(monkeypatch, first, images, "--compare", second, "--out", tmp_path / "out", "--batch-size", 2)
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "attention.json").read_text())
    pixels = [np.asarray(Image.open(images / f"{i}.png")) for i in range(5)]
    for encoder, checkpoint, path in zip((before, after), record["checkpoints"], (first, second)):
        assert checkpoint["path"] == str(path) and checkpoint["num_images"] == 5
        assert checkpoint["image_size"] == [32, 32] and checkpoint["pretraining"]["run_id"] == path.stem
        assert len(checkpoint["blocks"]) == 2
        expected = [first_block_scores(encoder, image) for image in pixels]
        for score, value in checkpoint["blocks"][0].items():
            assert value == pytest.approx(np.mean([one[score] for one in expected]), rel=1e-4)
            assert f"{value:.4f}" in said
    width, height = Image.open(tmp_path / "out" / "attention.png").size
    assert width > 1000 and height > 1000


def test_arch_and_size_for_foreign_weights(images, tmp_path, monkeypatch):
    import timm

    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    torch.save(vit.state_dict(), tmp_path / "weights.pth")
    run(monkeypatch, tmp_path / "weights.pth", images / "0.png", images / "3.png", "--arch", "vit_tiny_patch16_224",
        "--size", 64)
    record = json.loads((tmp_path / "attention" / "attention.json").read_text())["checkpoints"][0]
    assert record["num_images"] == 2 and record["image_size"] == [64, 64] and len(record["blocks"]) == 12


def test_mistakes_give_one_line(images, tmp_path, monkeypatch, capsys):
    good = save(tmp_path / "good.pth", build(0), "encoder")
    torch.save(build(0).state_dict(), tmp_path / "bare.pth")
    assert "--config" in fails(monkeypatch, capsys, tmp_path / "bare.pth", images)
    assert "no such file or folder" in fails(monkeypatch, capsys, good, tmp_path / "nowhere")
    assert "'good.pth'" in fails(monkeypatch, capsys, tmp_path / "god.pth", images)
    assert "multiple of the patch" in fails(monkeypatch, capsys, good, images, "--size", 36)
    model = dict(type="EncoderDecoder", backbone=dict(type="ResNet", depth=50))
    other = save(tmp_path / "other.pth", build(0), "backbone", model)
    assert "'ResNet', expected a TimmViT" in fails(monkeypatch, capsys, other, images)
    windows = dict(type="MaskRCNN", backbone=dict(ENCODER, window_size=2))
    vitdet = save(tmp_path / "vitdet.pth", build(0), "backbone", windows)
    assert "windows" in fails(monkeypatch, capsys, vitdet, images)
