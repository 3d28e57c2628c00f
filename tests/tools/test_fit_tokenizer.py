"""tools/fit_tokenizer.py, and pretraining with what it writes: identity in record and checkpoint, resume."""
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from pytest import CaptureFixture, MonkeyPatch, fixture, raises

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS
from mimtransfer.results.description import check_tokenizer
from mimtransfer.results.record import read_record
from pretrain.data.images import ImageFolder
from pretrain.runner import _check_stored_ids
from pretrain.tokenizers.codebook import perplexity

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "fit_tokenizer.py"
PIXELS = ROOT / "configs" / "tokenizer" / "kmeans-pixels_scenes.py"
DEBUG = ROOT / "configs" / "debug" / "mae_vit-debug_2e_folder.py"
sys.path.append(str(ROOT / "tests" / "helpers"))
from forked_tool import run_tool  # noqa: E402

VIEW = dict(type="ResizeWhole", size=32)


@fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    state = np.random.RandomState(0)
    for i in range(24):
        pixels = np.kron(state.randint(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


@fixture
def fit(images, monkeypatch, tmp_path):
    def run(work_dir: str, *args) -> Path:
        options = [f"train_dataloader.dataset.root={images}", "train_dataloader.dataset.transform.size=32",
                   "kmeans.num_codes=10", "kmeans.patches_per_code=20", "kmeans.epochs=2", "view.size=32",
                   "train_dataloader.num_workers=0"]  # fmt: skip
        command = [str(TOOL), str(PIXELS), "--work-dir", str(tmp_path / work_dir), *args, "--cfg-options", *options]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "path", list(sys.path))  # the tool replaces the first
        runpy.run_path(str(TOOL), run_name="__main__")
        return tmp_path / work_dir

    return run


def test_codebook_follows_from_the_seed_and_says_how_it_is_used(fit, capsys: CaptureFixture):
    first, again, other = fit("a"), fit("b"), fit("c", "--seed", "1")
    printed = capsys.readouterr()
    assert "features" in printed.err and "k-means" in printed.err  # progress
    content, about = read_checkpoint(first / "codebook.pth"), json.loads((first / "codebook.json").read_text())
    assert content["centroids"].shape == (10, 192) and content["counts"].sum() == 200 == about["num_patches"]
    assert about["perplexity"] == perplexity(content["counts"]) and 1 < about["perplexity"] <= 10
    assert about["dead_codes"] == int((content["counts"] == 0).sum())
    said = printed.out.splitlines()[0]
    assert f"perplexity {about['perplexity']:.1f}, {about['dead_codes']} dead codes" in said
    assert about["sha256"] == json.loads((again / "codebook.json").read_text())["sha256"]
    assert not torch.equal(content["centroids"], read_checkpoint(other / "codebook.pth")["centroids"])
    with Image.open(first / "codes.png") as picture:
        assert picture.size == (4 * 17 + 1, 3 * 17 + 1)


def test_stored_ids_are_those_of_the_tokenizer(fit, images):
    folder = fit("a")
    fit("a", "--ids")
    tokenizer = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=str(folder / "codebook.pth")))
    ids = np.load(folder / "ids" / "ids.npy")
    for index, item in enumerate(ImageFolder(VIEW, str(images))):
        assert np.array_equal(tokenizer(item["inputs"][None] / 255)[0].numpy(), ids[index])
        if index == 23:
            break
    about = json.loads((folder / "ids" / "ids.json").read_text())
    assert about["view"] == VIEW and about["tokenizer"] == tokenizer.identity


def test_ids_of_a_random_view_are_refused(fit, images, monkeypatch: MonkeyPatch, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(f"_base_ = [{str(PIXELS)!r}]\nview = dict(type='RandomResizedCropFlip', size=32)")
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(config), "--ids"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with raises(SystemExit):
        runpy.run_path(str(TOOL), run_name="__main__")
    assert "error: --ids: got view=" in capsys.readouterr().err


def write_config(path: Path, images: Path, tokenizer: dict, epochs: int) -> Path:
    path.write_text(f"""
_base_ = [{str(DEBUG)!r}]
custom_imports = dict(imports=['probe_hook'])
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'), dict(type='ProbeHook')]
model = dict(
    _delete_=True, type='MaPeT', tokenizer={tokenizer!r}, encoder={{{{_base_.model.encoder}}}},
    strategy={{{{_base_.model.strategy}}}}, data_preprocessor={{{{_base_.model.data_preprocessor}}}},
)
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(root={str(images)!r}, transform=dict(_delete_=True, **{VIEW!r})))
train_cfg = dict(max_epochs={epochs})
""")
    return path


def test_pretraining_with_stored_and_computed_ids(fit, images, tmp_path):
    """One and the same training; the record names the tokenizer; a resume with another one is refused."""
    folder = fit("codes")
    fit("codes", "--ids")
    computed = dict(type="KMeansTokenizer", codebook=str(folder / "codebook.pth"))
    stored = dict(type="StoredTokens", path=str(folder / "ids"))
    losses = []
    for name, tokenizer in (("computed", computed), ("stored", stored)):
        config, log = write_config(tmp_path / f"{name}.py", images, tokenizer, 1), tmp_path / f"{name}.log"
        assert run_tool(log, config, "--work-dir", tmp_path / name) == [0], log.read_text()[-3000:]
        losses.append(json.loads((tmp_path / name / "probe_0.json").read_text())["losses"])
        identity = TOKENIZERS.build(tokenizer).identity
        record = read_record(tmp_path / name / "result.json")
        checkpoint = read_checkpoint(tmp_path / name / "epoch_1.pth")
        assert record["tokenizer"] == identity == checkpoint["meta"]["mimtransfer"]["tokenizer"]
        protocol = record["protocol"]["config"]
        assert protocol["model.tokenizer.sha256"] == identity["sha256"] and str(folder) not in json.dumps(protocol)
        assert checkpoint["meta"]["mimtransfer"]["config_fingerprint"] == record["protocol"]["fingerprint"]
        assert not any("tokenizer" in key or "centroids" in key for key in checkpoint["state_dict"])
    assert losses[0] == losses[1] and len(losses[0]) == 3

    codebook = folder / "codebook.pth"
    moved = TOKENIZERS.build({**computed, "codebook": str(codebook.rename(folder / "moved.pth"))}).identity
    check_tokenizer(moved, read_checkpoint(tmp_path / "computed" / "epoch_1.pth")["meta"]["mimtransfer"]["tokenizer"])
    fit("codes", "--seed", "1")
    log = tmp_path / "other.log"
    resume = ["--resume", tmp_path / "computed" / "epoch_1.pth"]
    assert run_tool(log, write_config(tmp_path / "other.py", images, computed, 2), *resume) == [2]
    errors = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "was trained with the KMeansTokenizer of sha256" in errors[0]

    runner = SimpleNamespace(model=SimpleNamespace(tokenizer=TOKENIZERS.build(stored)))
    runner._train_dataloader = SimpleNamespace(dataset=ImageFolder(VIEW, str(images)))
    _check_stored_ids(runner)
    runner._train_dataloader.dataset = ImageFolder(VIEW, str(images), num_images=23)
    with raises(UserError, match="holds ids of 24 images, the training set has 23"):
        _check_stored_ids(runner)
