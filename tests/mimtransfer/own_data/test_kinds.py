"""Each shipped config is of one kind, and only its own tool takes it."""
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.openmmlab.config_bases import read_config
from mimtransfer.own_data.kinds import check_kind, kind_of
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
    check_kind(cfg, kind, name)
    tool = {"pretraining": "pretrain", "training": "train", "evaluation": "test", "tokenizer": "fit_tokenizer"}[kind]
    for other in {"pretraining", "training"} - {kind}:
        with pytest.raises(UserError, match=rf"config '{name}' .*; run it by python tools/{tool}\.py {name}$"):
            check_kind(cfg, other, name)


def test_a_config_of_no_known_kind_passes():
    check_kind(Config(dict(model=dict(type="Mine"))), "training", "mine.py")
    check_kind(Config({}), "pretraining", "mine.py")


@pytest.mark.parametrize(("tool", "name", "message"), [
    ("pretrain", "upernet_vit-demo_scenes",
     "trains a detector, a segmentor or a classifier; run it by mimtransfer train upernet_vit-demo_scenes"),
    ("train", "mae_vit-demo_scenes", "pretrains an encoder; run it by mimtransfer pretrain mae_vit-demo_scenes"),
])
def test_the_tools_refuse_in_one_line(tool, name, message, tmp_path):
    done = subprocess.run([sys.executable, "-m", "mimtransfer.cli.command", tool, name, "--data", str(tmp_path)],
                          cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True,
                          text=True)
    assert (done.returncode, done.stderr) == (2, f"error: config '{name}' {message}\n")
    assert list(tmp_path.iterdir()) == []
