"""tools/visualize.py from end to end on a tiny checkpoint."""
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import pretrain.methods  # noqa: F401
from mimtransfer.checkpoints.recorded_config import config_in_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.data.whole import WholeImages
from pretrain.from_checkpoint import load_method, other_strategy

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "visualize.py"
DEBUG = ROOT / "configs" / "debug" / "mae_vit-debug_2e_folder.py"
THROWN = (89, 0, 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    state = np.random.RandomState(0)
    for i in range(5):
        size = (40 + 8 * i, 48, 3)  # none is square
        Image.fromarray(state.randint(100, 256, size).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def write_checkpoint(path: Path, **model) -> Path:
    """Write what mmengine writes of a run: weights and the text of the config."""
    cfg = Config.fromfile(DEBUG)
    cfg.merge_from_dict({"model": model})
    torch.manual_seed(0)
    method = MODELS.build(cfg.model)
    torch.save({"meta": {"cfg": cfg.pretty_text, "epoch": 2}, "state_dict": method.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def mae(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("mae") / "epoch_2.pth")


def visualize(monkeypatch, *args) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, args)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(TOOL), run_name="__main__")


def colours(path: Path) -> tuple[int, int, set]:
    """Return the width and height of a figure in tiles, and the colours in it."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    height, width = picture.shape[0] / 315, picture.shape[1] / 315  # 2.1 inches, 150 dots each
    return round(width), int(height), {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}


def test_random_masking(mae, images, tmp_path, monkeypatch, capsys):
    visualize(monkeypatch, mae, images, "--out", tmp_path / "a.png", "--num-images", 2)
    columns, rows, found = colours(tmp_path / "a.png")
    assert (columns, rows) == (3, 2) and (128, 128, 128) in found
    assert f"written: {tmp_path / 'a.png'}" in capsys.readouterr().out
    visualize(monkeypatch, mae, images, "--out", tmp_path / "b.png", "--num-images", 2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    visualize(monkeypatch, mae, images, "--out", tmp_path / "b.png", "--num-images", 2, "--seed", 1)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_amt_masking_shows_the_weights_of_these_images(images, tmp_path, monkeypatch):
    strategy = dict(type="AMTMasking", mask_ratio=0.45, throw_ratio=0.4, warmup=dict(type="RandomMasking"))
    amt = write_checkpoint(tmp_path / "amt.pth", strategy=strategy, norm_pix_loss=False)
    drawn = {}

    def keep(columns, caption, path):
        drawn.update(columns, caption=caption)

    monkeypatch.setattr("pretrain.pictures.save_figure", keep)
    files = sorted(images.glob("*.png"))[:3]
    visualize(monkeypatch, amt, *files)
    assert [*drawn] == ["image", "weights", "roles", "reconstruction", "caption"]
    assert drawn["caption"] == "MAE with AMTMasking: 3 visible, 7 masked, 6 thrown"
    # the map is class attention measured on these very images
    from mimtransfer.backbones.inspect import view_block
    from pretrain.pictures import show_map

    method = load_method(config_in_checkpoint(amt), str(amt))
    raw = torch.stack([WholeImages([str(f)], 32)[0]["inputs"] for f in files])
    with torch.no_grad():
        maps = method.strategy.measure(view_block(method.encoder, method.data_preprocessor({"inputs": raw})["inputs"]))
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    assert torch.allclose(drawn["image"] * 255, raw.float(), atol=1e-3)
    assert torch.allclose(drawn["weights"], show_map(drawn["image"], (maps - low) / (high - low)), atol=1e-5)


def test_another_strategy_and_thrown_patches(mae, images, tmp_path, monkeypatch):
    options = ["--cfg-options", "model.strategy.mask_ratio=0.45", "model.strategy.throw_ratio=0.4"]
    out = tmp_path / "new" / "c.png"
    visualize(monkeypatch, mae, images / "0.png", "--out", out, "--strategy", "AMTMasking", *options)
    columns, rows, found = colours(out)
    assert (columns, rows) == (4, 1) and THROWN in found


def test_simmim(images, tmp_path, monkeypatch):
    cfg = Config.fromfile(DEBUG)
    cfg.model.type = "SimMIM"
    for key in ("decoder", "norm_pix_loss"):
        cfg.model.pop(key, None)
    cfg.model.strategy = dict(type="AMTMasking", mask_ratio=0.5, throw_ratio=0.25, unit=2)
    method = MODELS.build(cfg.model)
    torch.save({"meta": {"cfg": cfg.pretty_text}, "state_dict": method.state_dict()}, tmp_path / "s.pth")
    visualize(monkeypatch, tmp_path / "s.pth", images / "1.png", "--out", tmp_path / "s.png")
    assert colours(tmp_path / "s.png")[:2] == (4, 1)
    assert other_strategy(method, "GridMasking").unit == 2


def test_mfm_shows_the_corrupted_image_and_its_spectrum(images, tmp_path, monkeypatch):
    cfg = Config.fromfile(ROOT / "configs" / "debug" / "mfm_vit-debug_2e_folder.py")
    method = MODELS.build(cfg.model)
    torch.save({"meta": {"cfg": cfg.pretty_text}, "state_dict": method.state_dict()}, tmp_path / "m.pth")
    drawn = []

    def keep(columns, caption, path):
        drawn.append(dict(columns, caption=caption))

    monkeypatch.setattr("pretrain.pictures.save_figure", keep)
    for radius in (2, 8):
        options = ["--cfg-options", "model.corruption.low_pass_ratio=1.0", f"model.corruption.radius={radius}"]
        visualize(monkeypatch, tmp_path / "m.pth", images, *options)
        assert list(drawn[-1]) == ["image", "corrupted", "spectrum", "reconstruction", "caption"]
        assert drawn[-1].pop("caption") == "MFM with FrequencyMasking"
        assert all(column.shape == (5, 3, 32, 32) for column in drawn[-1].values())
    narrow, wide = ((columns["corrupted"] - columns["image"]).abs().mean() for columns in drawn)
    assert 0 < wide < narrow
    monkeypatch.undo()
    visualize(monkeypatch, tmp_path / "m.pth", images / "1.png", "--out", tmp_path / "m.png")
    assert colours(tmp_path / "m.png")[:2] == (4, 1)


def fails(monkeypatch, capsys, *args) -> str:
    with pytest.raises(SystemExit) as stopped:
        visualize(monkeypatch, *args)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def test_mistakes_give_one_line(mae, images, tmp_path, monkeypatch, capsys):
    def line(*args):
        return fails(monkeypatch, capsys, *args)

    assert "did you mean 'epoch_2.pth'" in line(mae.with_name("epoch_3.pth"), images)
    assert "did you mean '0.png'" in line(mae, images / "0.pgn")
    assert "did you mean 'AMTMasking'" in line(mae, images, "--strategy", "AMTMaskin")
    assert "expected 1 or more" in line(mae, images, "--num-images", 0)
    assert "ends in .png" in line(mae, images, "--out", "picture.xyz")
    assert "has no key 'modle'" in line(mae, images, "--cfg-options", "modle.strategy=1")
    assert "multiple" in line(mae, images, "--cfg-options", "train_dataloader.dataset.transform.size=36")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    assert "broken.png" in line(mae, tmp_path / "broken.png")
    base = ROOT / "configs" / "segmentation" / "upernet_vit-demo_scenes.py"
    assert "expected a model with an encoder" in line(mae, images, "--config", base)
    (tmp_path / "empty").mkdir()
    assert "no image in" in line(mae, tmp_path / "empty")


def test_weights_that_do_not_fit(mae):
    cfg = config_in_checkpoint(mae)
    cfg.model.encoder.model_kwargs.depth = 1
    with pytest.raises(UserError, match="holds 12 tensors that the config's MAE has not"):
        load_method(cfg, str(mae))
    cfg.model.encoder.model_kwargs.depth = 3
    with pytest.raises(UserError, match="lacks 12 of the model's"):
        load_method(cfg, str(mae))


def test_whole_images_are_evenly_spaced_and_have_whole_boxes(images):
    shown = WholeImages([str(images)], (16, 24), num_images=2)
    assert [Path(file).name for file in shown.files] == ["0.png", "2.png"]
    item = shown[1]
    assert item["inputs"].shape == (3, 16, 24)
    assert item["record"].index == 1 and item["record"].box.tolist() == [0, 0, 1, 1] and not item["record"].flip
    assert len(WholeImages([str(images), str(images / "1.png")], 16)) == 6
