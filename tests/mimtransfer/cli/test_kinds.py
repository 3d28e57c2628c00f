"""Each shipped config is of one kind, and only its own tool takes it."""
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from own_sets import yolo
from PIL import Image

from mimtransfer.checks import FAIL
from mimtransfer.checks.data import data_findings
from mimtransfer.cli.kinds import check_kind, kind_of
from mimtransfer.cli.launch import load_config
from mimtransfer.errors import UserError
from mimtransfer.openmmlab.config_bases import read_config
from mimtransfer.shipped.configs import find_config

ROOT = Path(__file__).resolve().parents[3]
KINDS = [
    ("mae_vit-demo_scenes", "pretraining"), ("mfm_resnet50-demo_scenes", "pretraining"),
    ("simmim_swin-base_800e_in1k-192", "pretraining"), ("data2vec2_vit-tiny-p4_10e_cifar10", "pretraining"),
    ("mask-rcnn_vit-demo_scenes", "training"), ("dino_vitdet_vit-base_12e_coco", "training"),
    ("upernet_vit-demo_scenes", "training"), ("finetune_vit-tiny-p4_5e_cifar10", "training"),
    ("linear_vit-demo_folder", "training"), ("knn_vit-tiny-p4_cifar10", "evaluation"),
    ("kmeans-pixels_scenes", "tokenizer"), ("kmeans-mae_scenes", "tokenizer"),
    ("vqkd_in1k", "tokenizer"),
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_kinds_of_shipped_configs(name, kind):
    cfg = read_config(find_config(name))
    assert kind_of(cfg) == kind
    check_kind(cfg, name, kind)
    tool = {"pretraining": "pretrain", "training": "train", "evaluation": "test", "tokenizer": "fit_tokenizer"}[kind]
    for other in {"pretraining", "training"} - {kind}:
        with pytest.raises(UserError, match=rf"config '{name}' .*; run it by python tools/{tool}\.py {name}$"):
            check_kind(cfg, name, other)


def test_a_config_of_no_known_kind_passes():
    check_kind(Config(dict(model=dict(type="Mine"))), "mine.py", "training")
    check_kind(Config({}), "mine.py", "pretraining")


TO_PRETRAIN = "pretrains an encoder; run it by mimtransfer pretrain mae_vit-demo_scenes"
TO_TRAIN = "trains a detector, a segmentor or a classifier; run it by mimtransfer train upernet_vit-demo_scenes"


@pytest.mark.parametrize(("tool", "name", "rest", "message"), [
    ("pretrain", "upernet_vit-demo_scenes", ["--data", "."], TO_TRAIN),
    ("train", "mae_vit-demo_scenes", ["--data", "."], TO_PRETRAIN),
    ("test", "mae_vit-demo_scenes", ["a.png"], TO_PRETRAIN),
    ("predict", "mae_vit-demo_scenes", ["a.png", "a.png"], TO_PRETRAIN),
])
def test_the_tools_refuse_in_one_line(tool, name, rest, message, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = subprocess.run([sys.executable, "-m", "mimtransfer.cli.command", tool, name, *rest],
                          cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True,
                          text=True)
    assert (done.returncode, done.stderr) == (2, f"error: config '{name}' {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_to_do_next_is_named_as_it_was_typed(tmp_path):
    yolo(tmp_path / "cells")
    done = subprocess.run([sys.executable, "-m", "mimtransfer.cli.command", "convert-data", "cells", "out"],
                          cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True,
                          text=True)
    assert done.stdout.splitlines()[-1] == "Written to out: mimtransfer train CONFIG --data out", done.stderr


def test_without_the_data_of_a_config_ones_own_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = next(found for found in data_findings(load_config("mask-rcnn_vit-demo_scenes", [])) if found.level == FAIL)
    assert "train on data of your own by --data DIR" in found.fix
