"""Every shipped pretraining config does one training step with the tokenizer and the maps that it names.

One picture of its size, narrow layers, and files of random weights where the config expects those of a fit or of a
download.
"""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from one_step import narrow, train_one_step
from shipped_configs import leaves, load, unique

import pretrain.methods  # noqa: F401
from mimtransfer.backbones.inspect import view_block
from mimtransfer.registry import MODELS, PATCH_FEATURES
from pretrain.aug_record import AugRecord
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured

DALLE = Path(__file__).parent / "pretrain/tokenizers/fixtures/dvae_official.json"
LEAVES = leaves("pretrain", "debug")


def what_is_run(leaf):
    """Return what decides the step; stored ids are numbers, whichever tokenizer they are of."""
    cfg = load(leaf)
    if cfg.model.get("tokenizer", {}).get("type") == "StoredTokens":
        del cfg.model.tokenizer["path"]
    return cfg.model.to_dict(), cfg.optim_wrapper.to_dict()


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch, quick_weights):
    """Let relative paths be those of a folder without files."""
    monkeypatch.chdir(tmp_path)


def write_codebook(path):
    """Write what tools/fit_tokenizer.py writes for the config that the path names, and the checkpoint it reads."""
    fit = load(f"tokenizer/{path.parts[1]}.py")
    if fit.features.type == "CheckpointFeatures":
        checkpoint = Path(fit.features.checkpoint)
        source = load(f"pretrain/{checkpoint.parts[1]}.py")
        state = {f"encoder.{name}": value for name, value in MODELS.build(source.model.encoder).state_dict().items()}
        checkpoint.parent.mkdir(parents=True)
        torch.save({"state_dict": state, "meta": {"cfg": source.pretty_text}}, checkpoint)
    features = PATCH_FEATURES.build(fit.features)
    size = fit.train_dataloader.dataset.transform.size
    with torch.no_grad():
        dim = features(torch.rand(1, 3, size, size)).shape[-1]
    centroids = torch.randn(fit.kmeans.num_codes, dim)
    patches = torch.zeros(len(centroids), 4, 4, 3, dtype=torch.uint8)
    torch.save(dict(centroids=centroids, patches=patches, features=fit.features.to_dict(),
                    weights_sha256=features.sha256), path)


def write_tokenizer(tokenizer, num_codes, grid):
    """Write the file of a tokenizer where its config has it: random numbers of the real sizes."""
    path = Path(tokenizer.get("codebook") or tokenizer.get("path") or tokenizer.checkpoint)
    path.parent.mkdir(parents=True)
    if tokenizer.type == "KMeansTokenizer":
        write_codebook(path)
    elif tokenizer.type == "StoredTokens":
        path.mkdir()
        np.save(path / "ids.npy", np.random.RandomState(0).randint(0, num_codes, (1, *grid)).astype(np.uint16))
        np.save(path / "boxes.npy", np.array([[0, 0, 1, 1]], np.float32))
        about = dict(num_codes=num_codes, sha256="0" * 64, tokenizer={}, view={}, images="0" * 64)
        (path / "ids.json").write_text(json.dumps(about))
    else:
        shapes = json.loads(DALLE.read_text())["published"]["encoder"]
        torch.save({name: torch.randn(shape) / shape[-1] for name, shape in shapes.items()}, path)


@pytest.mark.parametrize("leaf", unique(LEAVES, what_is_run))
def test_one_training_step(leaf):
    cfg = load(leaf)
    size = cfg.train_dataloader.dataset.transform.size
    torch.manual_seed(0)
    if "tokenizer" in cfg.model:
        side = cfg.model.encoder.get("patch_size", 16)
        write_tokenizer(cfg.model.tokenizer, cfg.model.get("num_codes"), (size // side, size // side))
    narrow(cfg.model)
    model = MODELS.build(cfg.model)
    inputs = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    number, flip = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.bool)
    data = dict(inputs=inputs, record=AugRecord(number, number, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), flip))
    if isinstance(model.strategy, Measured):
        with torch.no_grad():
            seen = view_block(model.encoder, model.data_preprocessor(data)["inputs"])
            model.strategy.bank = MapBank(model.strategy.measure(seen).half())
    train_one_step(model, cfg, data)
