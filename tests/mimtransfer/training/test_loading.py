"""Loaders fit the machine, and no fingerprint changes."""
import pytest
import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from shipped_configs import load

from mimtransfer.results.fingerprint import protocol_config
from mimtransfer.training import loading
from mimtransfer.training.loading import copy_without_waiting, cores_of_process, set_loading


@pytest.fixture
def cores(monkeypatch):
    for name in ("SLURM_CPUS_PER_TASK", "LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda process: set(range(12)), raising=False)


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, 12), (dict(LOCAL_WORLD_SIZE="4"), 3), (dict(LOCAL_WORLD_SIZE="16"), 1), (dict(SLURM_CPUS_PER_TASK="7"), 7),
    (dict(OMPI_COMM_WORLD_LOCAL_SIZE="6"), 2),
])  # fmt: skip
def test_cores_are_shared_by_the_processes_of_the_machine(cores, monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cores_of_process() == expected


@pytest.mark.parametrize("leaf", ["pretrain/mae_vit-base_800e_in1k.py",
                                  "classification/finetune_mae_vit-base_100e_in1k.py"])
def test_workers_are_at_most_the_cores(cores, monkeypatch, leaf):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    cfg = load(leaf)
    before = protocol_config(cfg)
    assert cfg.train_dataloader.num_workers == 10
    set_loading(cfg)
    assert cfg.train_dataloader.num_workers == 4 and protocol_config(cfg) == before
    assert Config(dict(model=cfg.model)).model == load(leaf).model


def test_mmdet_keeps_its_workers_and_small_configs_theirs(cores, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "12")
    cfg = Config(dict(default_scope="mmdet", train_dataloader=dict(num_workers=4), val_dataloader=None))
    set_loading(cfg)
    assert cfg.train_dataloader == dict(num_workers=4)
    cfg = Config(dict(default_scope="mimtransfer", train_dataloader=dict(num_workers=0)))
    set_loading(cfg)
    assert cfg.train_dataloader == dict(num_workers=0)


def test_on_cuda_batches_are_pinned_and_copied_without_waiting(cores, monkeypatch):
    monkeypatch.setattr(loading, "is_cuda_available", lambda: True)
    cfg = Config(dict(train_dataloader=dict(num_workers=1), val_dataloader=dict(num_workers=1, pin_memory=False)))
    set_loading(cfg)
    assert cfg.train_dataloader.pin_memory and not cfg.val_dataloader.pin_memory
    model = torch.nn.Module()
    model.data_preprocessor = ImgDataPreprocessor()
    copy_without_waiting(model)
    assert model.data_preprocessor._non_blocking
    copy_without_waiting(torch.nn.Linear(1, 1))
