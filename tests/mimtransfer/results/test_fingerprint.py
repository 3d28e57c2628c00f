"""A fingerprint must not see where, how fast or from which seed a run is made, and must see everything else."""
import copy
import pathlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mimtransfer.results.fingerprint import differences, fingerprint, protocol_config, with_tokenizer


def config(root="data/coco/"):
    pipeline = [{"type": "LoadImageFromFile", "backend_args": None}, {"type": "RandomCrop", "crop_size": (64, 64)}]
    loader = {
        "batch_size": 4,
        "num_workers": 2,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": True, "seed": 3},
        "dataset": {
            "type": "CocoDataset",
            "data_root": root,
            "ann_file": "train.json",
            "data_prefix": {"img": "train/"},
            "pipeline": pipeline,
        },
    }
    val = copy.deepcopy(loader)
    val["dataset"]["ann_file"] = "val.json"
    backbone = {
        "type": "mimtransfer.TimmViT",
        "arch": "vit_tiny",
        "init_cfg": {"type": "Pretrained", "checkpoint": "a.pth"},
    }
    head = {"type": "Head", "init_cfg": {"type": "Normal", "std": 0.01}}
    return {
        "model": {"type": "MaskRCNN", "backbone": backbone, "roi_head": head},
        "data_root": root,
        "train_pipeline": pipeline,
        "train_dataloader": loader,
        "val_dataloader": val,
        "test_dataloader": copy.deepcopy(val),
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 12, "val_interval": 1},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "val_evaluator": {"type": "CocoMetric", "ann_file": root + "val.json", "metric": ["bbox", "segm"]},
        "test_evaluator": {"type": "CocoMetric", "ann_file": root + "val.json", "metric": ["bbox", "segm"]},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-4, "betas": (0.9, 0.999)}},
        "param_scheduler": [{"type": "LinearLR", "end": 100}, {"type": "CosineAnnealingLR"}],
        "custom_hooks": [{"type": "mimtransfer.RecordHook", "label": "x"}, {"type": "EMAHook", "momentum": 2e-4}],
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 50}, "checkpoint": {"type": "CheckpointHook"}},
        "randomness": {"seed": 0},
        "env_cfg": {"dist_cfg": {"backend": "nccl"}},
        "work_dir": "work_dirs/a",
    }


def of(cfg, **options):
    return fingerprint(protocol_config(cfg, **options))


def edit(path, value):
    def apply(cfg):
        *parents, last = path.split(".")
        for key in parents:
            cfg = cfg[int(key) if isinstance(cfg, list) else key]
        cfg[int(last) if isinstance(cfg, list) else last] = value

    return apply


HARMLESS = {
    "seed": edit("randomness.seed", 7),
    "sampler seed": edit("train_dataloader.sampler.seed", 9),
    "work dir": edit("work_dir", "/elsewhere"),
    "workers": edit("train_dataloader.num_workers", 16),
    "pinning": edit("train_dataloader.pin_memory", True),
    "initialisation": edit("model.backbone.init_cfg", None),
    "initialisation of the wrong kind": edit("model.backbone.init_cfg", {"type": "TruncNormal", "std": 0.02}),
    "old way to initialise": edit("model.pretrained", "b.pth"),
    "load from": edit("load_from", "b.pth"),
    "resume": edit("resume", True),
    "launcher": edit("launcher", "pytorch"),
    "environment": edit("env_cfg.dist_cfg.backend", "gloo"),
    "label": edit("custom_hooks.0.label", "y"),
    "log interval": edit("default_hooks.logger.interval", 1),
    "visualiser": edit("visualizer", {"type": "DetLocalVisualizer"}),
    "unused variable": edit("train_pipeline", []),
    "validation interval": edit("train_cfg.val_interval", 4),
    "memory saving": edit("model.backbone.with_cp", True),
    "backend arguments": edit("train_dataloader.dataset.backend_args", {"backend": "petrel"}),
    "list for tuple": edit("optim_wrapper.optimizer.betas", [0.9, 0.999]),
    "numpy number": edit("optim_wrapper.optimizer.lr", np.float64(1e-4)),
    "whole float": edit("train_cfg.max_epochs", 12.0),
    "lr not scaled": edit("auto_scale_lr", {"enable": False, "base_batch_size": 16}),
    "the other loader": edit("test_dataloader.dataset.ann_file", "test.json"),
    "the source of the images": edit("train_dataloader.dataset.source", "/data/shards"),
    "the decoder of the images": edit("train_dataloader.dataset.decoder", "pillow"),
    "logging hook": lambda cfg: cfg["custom_hooks"].append({"type": "EmptyCacheHook"}),
}
HARMFUL = {
    "lr": edit("optim_wrapper.optimizer.lr", 1.0001e-4),
    "crop": edit("train_dataloader.dataset.pipeline.1.crop_size", (64, 96)),
    "batch": edit("train_dataloader.batch_size", 8),
    "order of transforms": lambda cfg: cfg["train_dataloader"]["dataset"]["pipeline"].reverse(),
    "epochs": edit("train_cfg.max_epochs", 13),
    "accumulation": edit("optim_wrapper.accumulative_counts", 2),
    "annotation file": edit("train_dataloader.dataset.ann_file", "train_10percent.json"),
    "evaluated split": edit("val_dataloader.dataset.ann_file", "minival.json"),
    "evaluator": edit("val_evaluator.metric", ["bbox"]),
    "arch": edit("model.backbone.arch", "vit_small"),
    "drop path": edit("model.backbone.drop_path_rate", 0.1),
    "head initialisation": edit("model.roi_head.init_cfg.std", 0.02),
    "schedule": edit("param_scheduler.0.end", 200),
    "EMA": edit("custom_hooks.1.momentum", 1e-3),
    "acting default hook": edit("default_hooks.early", {"type": "EarlyStoppingHook", "monitor": "x"}),
    "lr scaled": edit("auto_scale_lr", {"enable": True, "base_batch_size": 16}),
    "true for one": edit("train_dataloader.sampler.shuffle", 1),
    "none for absent": edit("model.neck", None),
    "empty for absent": edit("model.test_cfg", {}),
    # The seed of the run is elsewhere; each of these draws other images, corruptions or attacks.
    "another subset": edit("train_dataloader.dataset.seed", 1),
    "the default subset, written out": edit("train_dataloader.dataset.seed", 0),
    "another subset in k-NN": edit("val_cfg.memory_dataloader", {"dataset": {"seed": 1}}),
    "other corruptions": edit("val_cfg.seed", 1),
    "another attack": edit("val_cfg.attacks", [{"type": "PGD", "seed": 1}]),
    "another subset in a nested data set": edit("train_dataloader.dataset.dataset", {"seed": 1}),
    "the decoder of a model": edit("model.decoder", {"width": 256}),
    "the source of a strategy": edit("model.strategy", {"type": "X", "source": "teacher"}),
    "a seeded masking": edit("model.strategy", {"type": "X", "seed": 1}),
    "a seeded transform": edit("train_dataloader.dataset.pipeline.0.seed", 1),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_fingerprint_ignores(name):
    changed = config()
    HARMLESS[name](changed)
    assert of(changed) == of(config())


@pytest.mark.parametrize("name", HARMFUL)
def test_fingerprint_sees(name):
    changed = config()
    HARMFUL[name](changed)
    assert of(changed) != of(config())


def test_the_order_of_the_memory_of_knn_is_no_protocol():
    def knn(**sampler):
        cfg = config()
        cfg["val_cfg"] = {"type": "KNNLoop", "memory_dataloader": {"sampler": {"type": "DefaultSampler", **sampler}}}
        return of(cfg)

    assert knn(seed=9) == knn() != of(config())


def test_data_may_lie_anywhere():
    assert of(config("/mnt/disk/coco/")) == of(config("./data/coco/")) == of(config("data/coco/"))
    # A root of its own for the loader, an absolute path for the evaluator.
    moved = config()
    moved["val_evaluator"]["ann_file"] = "/other/val.json"
    moved["train_dataloader"]["dataset"]["ann_file"] = pathlib.PurePosixPath("data/coco/train.json")
    assert of(moved) == of(config())


def test_processes_share_the_batch():
    quarter = config()
    quarter["train_dataloader"]["batch_size"] = 1
    assert of(quarter, processes=4) == of(config())
    assert of(config(), processes=2) != of(config())


def test_test_split_equals_the_same_validation_split():
    assert of(config(), evaluated="test") == of(config())
    other = config()
    other["test_dataloader"]["dataset"]["ann_file"] = "test.json"
    flat = [protocol_config(other, evaluated) for evaluated in ("val", "test")]
    assert differences(*flat) == {"eval_dataloader.dataset.ann_file": ("val.json", "test.json")}


def test_flattened_config_is_readable():
    flat = protocol_config(config())
    assert flat["optim_wrapper.optimizer.lr"] == 0.0001
    assert flat["train_dataloader.total_batch_size"] == 4
    assert flat["train_dataloader.dataset.pipeline.1.crop_size.0"] == 64
    assert flat["eval_evaluator.ann_file"] == "val.json"
    assert flat["custom_hooks.0.type"] == "EMAHook"
    assert flat["train_dataloader.dataset.data_prefix.img"] == "train"
    assert not [key for key in flat if "seed" in key or "root" in key or "logger" in key or "work" in key]


def test_dots_in_keys_do_not_collide():
    dotted, nested = config(), config()
    dotted["optim_wrapper"]["paramwise_cfg"] = {"a.b": 1}
    nested["optim_wrapper"]["paramwise_cfg"] = {"a": {"b": 1}}
    assert of(dotted) != of(nested)


def test_mmengine_config_equals_its_dictionary():
    assert of(Config(config())) == of(config())


def test_differences_name_both_values():
    changed = config()
    HARMFUL["lr"](changed)
    changed["model"]["neck"] = {"type": "FPN"}
    assert differences(protocol_config(config()), protocol_config(changed)) == {
        "model.neck.type": ("<absent>", "FPN"),
        "optim_wrapper.optimizer.lr": (0.0001, 1.0001e-4),
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.\\", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def shuffled(value, rng):
    if isinstance(value, dict):
        return dict(sorted(((k, shuffled(v, rng)) for k, v in value.items()), key=lambda _: rng.random()))
    return tuple(shuffled(item, rng) for item in value) if isinstance(value, list) else value


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(0, 99))
def test_order_of_keys_and_kind_of_sequence_never_matter(value, seed):
    first, second = {"model": {"a": value}}, {"model": {"a": shuffled(value, random.Random(seed))}}
    assert of(first) == of(second)


def plain(value):
    """Return what two configs must share to be equal: 1.0 is 1, True is not 1, -0.0 is 0."""
    if isinstance(value, dict):
        return ("dict", frozenset((key, plain(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(plain, value)))
    if isinstance(value, float) and value in (float("inf"), -float("inf")):
        return ("text", repr(value))
    return ("text" if isinstance(value, str) else isinstance(value, bool), value)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_equal_fingerprints_mean_equal_configs(first, second):
    paths = any("/" in repr(value) for value in (first, second))
    if not paths:
        assert (of({"model": {"a": first}}) == of({"model": {"a": second}})) == (plain(first) == plain(second))


def test_a_tokenizer_counts_by_its_content_not_by_where_it_lies():
    identity = dict(type="StoredTokens", num_codes=8, sha256="ab" * 32, source=dict(type="VQKD", sha256="cd" * 32))
    config = {"model.tokenizer.path": "work_dirs/ids", "model.tokenizer.type": "StoredTokens", "model.type": "MaPeT"}
    found = with_tokenizer(config, identity)
    assert found == {
        "model.tokenizer.num_codes": 8, "model.tokenizer.sha256": "ab" * 32,
        "model.tokenizer.source.sha256": "cd" * 32, "model.tokenizer.source.type": "VQKD",
        "model.tokenizer.type": "StoredTokens", "model.type": "MaPeT",
    }  # fmt: skip
    assert with_tokenizer({**config, "model.tokenizer.path": "elsewhere"}, identity) == found
    assert with_tokenizer(config, {**identity, "sha256": "ef" * 32}) != found and with_tokenizer(config, None) == config
