"""Every shipped pretraining config does one training step with the tokenizer and the maps that it names.

One picture of its size, narrow layers, and files of random weights where the config expects those of a fit or of a
download.
"""
import pytest
import torch
from one_step import narrow, train_one_step
from shipped_configs import leaves, load, unique
from tokenizer_files import write_tokenizer

import pretrain.methods  # noqa: F401
from mimtransfer.backbones.inspect import view_block
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured

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
