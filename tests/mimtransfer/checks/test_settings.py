"""A config is held against what it builds: every wrong key and value is told in one line, every valid one passes."""
import json
import math
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from own_tool import call_tool
from shipped_configs import load

import mimtransfer  # noqa: F401  before mmdet and mmseg
import pretrain.data
import pretrain.hooks
import pretrain.methods  # noqa: F401
from mimtransfer.checks import FAIL
from mimtransfer.checks.config import check_config
from mimtransfer.checks.settings import check_settings, wrong_settings
from mimtransfer.errors import UserError

ROOT = Path(__file__).parents[3] / "configs"
LEAVES = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")
    if not {"_base_", "suites", "tokenizer"} & set(path.parts)
)
PRETRAIN, DETECTION = "pretrain/mae_famt_vit-demo_scenes.py", "detection/mask-rcnn_vit-demo_scenes.py"
SEGMENTATION = "segmentation/upernet_vit-base_160k_ade20k-512x512.py"
CLASSIFICATION = "classification/finetune_vit-tiny-p4_100e_cifar100.py"
DROP = object()


def config(leaf):
    DefaultScope._instance_dict.clear()
    return load(leaf)


def changed(leaf, path, value):
    """Return a config with another value at a path; a path that is not there is made, `DROP` takes it out."""
    cfg = config(leaf)
    *parents, last = path.split(".")
    node = cfg
    for key in parents:
        node = node[int(key)] if isinstance(node, list | tuple) else node.setdefault(key, {})
    last = int(last) if isinstance(node, list) else last
    if value is DROP:
        del node[last]
    else:
        node[last] = value
    return cfg


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_shipped_config_passes(leaf):
    assert wrong_settings(config(leaf)) == []


WRONG = [
    # misspelt below the top level
    (PRETRAIN, "default_hooks.checkpoint.intervall", 3, "takes no key 'intervall'; did you mean 'interval'"),
    (PRETRAIN, "default_hooks.chekpoint", dict(type="CheckpointHook"), "did you mean 'checkpoint'"),
    (PRETRAIN, "param_scheduler.1.T_maxx", 3, "did you mean 'T_max'"),
    (PRETRAIN, "auto_scale_lr.base_batchsize", 3, "did you mean 'base_batch_size'"),
    (PRETRAIN, "auto_scale_lr.enabel", True, "did you mean 'enable'"),
    (PRETRAIN, "env_cfg.cudnn_benchmrak", True, "did you mean 'cudnn_benchmark'"),
    (PRETRAIN, "env_cfg.mp_cfg.opencv_threads", 0, "did you mean 'opencv_num_threads'"),
    (PRETRAIN, "train_dataloader.batchsize", 3, "did you mean 'batch_size'"),
    (PRETRAIN, "train_dataloader.sampler.shufle", True, "did you mean 'shuffle'"),
    (PRETRAIN, "train_cfg.max_epoch", 3, "did you mean 'max_epochs'"),
    (PRETRAIN, "randomness.sed", 3, "did you mean 'seed'"),
    (PRETRAIN, "custom_hooks.0.interval", 3, "takes no key 'interval'"),
    (PRETRAIN, "optim_wrapper.clip_gard", dict(max_norm=1), "did you mean 'clip_grad'"),
    (PRETRAIN, "optim_wrapper.clip_grad", dict(maxnorm=1), "did you mean 'max_norm'"),
    (PRETRAIN, "optim_wrapper.optimizer.weight_decya", 0.1, "did you mean 'weight_decay'"),
    (PRETRAIN, "param_schedulers", [], "did you mean 'param_scheduler'"),
    (PRETRAIN, "model.strategy.mask_ration", 0.3, "did you mean 'mask_ratio'"),
    # parts that a method builds without a `type`
    ("pretrain/mae_vit-demo_scenes.py", "model.decoder.predict_ratio", 0.2,
     "model.decoder (PixelDecoder) takes no key 'predict_ratio'"),
    ("pretrain/ijepa_vit-tiny-p4_10e_cifar10.py", "model.predictor.embed_dims", 96, "did you mean 'embed_dim'"),
    (PRETRAIN, "log_processor.windowsize", 3, "did you mean 'window_size'"),
    (DETECTION, "optim_wrapper.paramwise_cfg.layer_decay_rat", 0.9, "did you mean 'layer_decay_rate'"),
    (DETECTION, "train_dataloader.dataset.ann_fle", "x.json", "did you mean 'ann_file'"),
    (DETECTION, "train_dataloader.dataset.filter_cfgg", {}, "did you mean 'filter_cfg'"),
    (DETECTION, "train_dataloader.dataset.metainfo.clases", ("a",), "did you mean 'classes'"),
    (DETECTION, "val_evaluator.metrics", "bbox", "did you mean 'metric'"),
    (DETECTION, "model.roi_head.bbox_head.num_clases", 3, "did you mean 'num_classes'"),
    (DETECTION, "model.test_cfg.rcnn.score_thrr", 3, "did you mean 'score_thr'"),
    (DETECTION, "visualizer.vis_backend", [], "did you mean 'vis_backends'"),
    (SEGMENTATION, "model.decode_head.num_clases", 3, "did you mean 'num_classes'"),
    (SEGMENTATION, "train_dataloader.dataset.pipeline.1.reduce_zero_lable", True, "did you mean 'reduce_zero_label'"),
    (CLASSIFICATION, "train_dataloader.dataset.images_per_clas", 3, "did you mean 'images_per_class'"),
    # unknown and missing
    (PRETRAIN, "param_scheduler.0.type", "LinerLR", "is no parameter scheduler; did you mean 'LinearLR'"),
    (PRETRAIN, "custom_hooks.0.type", "SedHook", "is no hook; did you mean"),
    (PRETRAIN, "train_cfg.type", "EpochBasedTrainLop", "is no loop; did you mean 'EpochBasedTrainLoop'"),
    (PRETRAIN, "custom_hooks.0.type", "", "custom_hooks.0.type is ''"),
    (PRETRAIN, "custom_hooks.0", dict(interval=3), "custom_hooks.0 needs the key 'type'"),
    (PRETRAIN, "train_cfg.max_epochs", DROP, "needs the key 'max_epochs'"),
    (PRETRAIN, "train_dataloader.batch_size", DROP, "needs the key 'batch_size'"),
    (PRETRAIN, "train_dataloader.dataset", DROP, "needs the key 'dataset'"),
    (PRETRAIN, "train_cfg", None, "train_cfg missing beside train_dataloader and optim_wrapper"),
    (PRETRAIN, "model", None, "model is missing"),
    (DETECTION, "model.test_cfg.rcnn.score_thr", DROP, "needs the key 'score_thr'"),
    (DETECTION, "model.train_cfg.rcnn.mask_size", DROP, "needs the key 'mask_size'"),
    # of another type
    (PRETRAIN, "param_scheduler.1.T_max", "banana", "is 'banana', expected an integer"),
    (PRETRAIN, "model.norm_pix_loss", "banana", "is 'banana', expected True or False"),
    (PRETRAIN, "train_cfg.max_epochs", "ten", "is 'ten', expected an integer"),
    (PRETRAIN, "train_cfg.max_epochs", 2.5, "is 2.5, expected an integer"),
    (PRETRAIN, "train_dataloader.batch_size", [], "is [], expected"),
    (PRETRAIN, "optim_wrapper.optimizer.lr", "fast", "is 'fast', expected a number"),
    (PRETRAIN, "env_cfg.mp_cfg.mp_start_method", "banana", "expected one of 'fork', 'spawn', 'forkserver'"),
    (PRETRAIN, "default_hooks.checkpoint.max_keep_ckpts", "two", "expected an integer"),
    (PRETRAIN, "default_hooks.logger", 3, "default_hooks.logger is 3, expected dict(type=...)"),
    (PRETRAIN, "model.encoder", "vit", "model.encoder (MAE) is 'vit', expected dict(...)"),
    (PRETRAIN, "visualizer", [], "visualizer is [], expected dict(...)"),
    (DETECTION, "train_dataloader.dataset.pipeline", 3, "is 3, expected"),
    (DETECTION, "model.roi_head.bbox_head.num_classes", "many", "is 'many', expected an integer"),
    (DETECTION, "val_dataloader.num_workers", "all", "is 'all', expected"),
    # out of range
    (PRETRAIN, "model.data_preprocessor.std", [math.nan] * 3, "model.data_preprocessor.std"),
    (PRETRAIN, "model.data_preprocessor.std", [-58.0, 57.0, 57.0], "expected a number > 0"),
    (DETECTION, "model.data_preprocessor.std", [0.0, 57.0, 57.0], "expected a number > 0"),
    (PRETRAIN, "default_hooks.checkpoint.interval", -1, "expected a number >= 1"),
    (PRETRAIN, "default_hooks.logger.interval", 0, "expected a number >= 1"),
    (PRETRAIN, "custom_hooks.1.interval", -1, "expected a number >= 1"),
    (PRETRAIN, "param_scheduler.1.T_max", -5, "expected a number >= 1"),
    (PRETRAIN, "param_scheduler.1", dict(type="CosineAnnealingLR", T_max=2, eta_min_ratio=10.0),
     "eta_min_ratio (CosineAnnealingLR) is 10.0, expected a number >= 0 and <= 1"),
    (PRETRAIN, "optim_wrapper.optimizer.weight_decay", 1e30, "expected a number"),
    (PRETRAIN, "optim_wrapper.optimizer.weight_decay", -0.1, "expected a number >= 0"),
    (PRETRAIN, "optim_wrapper.optimizer.lr", math.nan, "optimizer.lr is nan"),
    (PRETRAIN, "optim_wrapper.optimizer.betas", (0.9, 1.5), "expected a number >= 0 and < 1"),
    (PRETRAIN, "train_dataloader.num_workers", -1, "expected a number >= 0"),
    (PRETRAIN, "train_dataloader.batch_size", 0, "expected a number >= 1"),
    (PRETRAIN, "train_cfg.max_epochs", 0, "expected a number >= 1"),
    (DETECTION, "model.roi_head.bbox_head.loss_cls.loss_weight", math.nan, "loss_weight is nan"),
    (DETECTION, "model.backbone.drop_path_rate", 1.5, "expected a number >= 0 and < 1"),
    (SEGMENTATION, "train_dataloader.dataset.pipeline.3.crop_size", (-512, 512), "expected a number > 0"),
    # what is not installed
    (DETECTION, "visualizer.vis_backends", [dict(type="AimVisBackend")], "needs the package 'aim'"),
    (DETECTION, "visualizer.vis_backends", [dict(type="WandbVisBackend")], "needs the package 'wandb'"),
]


@pytest.mark.parametrize("leaf, path, value, line", WRONG)
def test_one_line_for_a_wrong_setting(leaf, path, value, line):
    with pytest.raises(UserError) as error:
        check_settings(changed(leaf, path, value))
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("leaf, path, value, line", WRONG)
def test_doctor_and_the_tools_say_the_same_line(leaf, path, value, line, tmp_path, capsys):
    """The doctor's lines did not begin like those of the tools, and had no advice apart."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(changed(leaf, path, value).to_dict()))
    said = [found for found in check_config(str(file), [], None, 1) if found.what.startswith("config: ")]
    assert {found.level for found in said} == {FAIL} and any(line in found.line for found in said)
    tool = "pretrain" if leaf.startswith("pretrain/") else "train"
    status = call_tool(tool, file, "--work-dir", tmp_path / "run")
    told = capsys.readouterr().err.splitlines()[-1]
    more = f"; and {len(said) - 1} more: tools/doctor.py lists them" if len(said) > 1 else ""
    assert status == 2 and told == f"error: {said[0].line}{more}"
    assert not (tmp_path / "run").exists()


VALID = [
    (PRETRAIN, "default_hooks.checkpoint.max_keep_ckpts", -1),
    (PRETRAIN, "train_cfg.max_epochs", 16.0),
    (PRETRAIN, "train_dataloader.prefetch_factor", 4),
    (PRETRAIN, "train_dataloader.batch_sampler", None),
    (PRETRAIN, "default_hooks.visualization", None),
    (PRETRAIN, "optim_wrapper.clip_grad", dict(type="value", clip_value=1.0)),
    (PRETRAIN, "custom_hooks.0.priority", "LOW"),
    (PRETRAIN, "param_scheduler.1.convert_to_iter_based", True),
    (PRETRAIN, "param_scheduler.1", dict(type="CosineAnnealingParamScheduler", param_name="weight_decay", T_max=2,
                                         eta_min_ratio=10.0)),
    (PRETRAIN, "env_cfg.dist_cfg", dict(backend="nccl", timeout=3600)),
    (PRETRAIN, "my_own_variable", 3),
    (DETECTION, "model.roi_head.bbox_head.norm_cfg", dict(type="BN", requires_grad=False)),
    (DETECTION, "model.backbone.init_cfg", dict(type="Pretrained", checkpoint="a.pth")),
    (DETECTION, "optim_wrapper.loss_scale", "dynamic"),
    (SEGMENTATION, "train_dataloader.dataset.indices", 10),
    (DETECTION, "custom_hooks.2", dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=2e-4, gamma=2000)),
    (DETECTION, "train_dataloader.dataset.metainfo", dict(classes=("a", "b"), palette=[(0, 0, 0), (1, 1, 1)])),
    (DETECTION, "model.roi_head.bbox_head.init_cfg", dict(type="Normal", layer="Linear", std=0.01, bias=0,
                                                          override=dict(name="fc_cls", std=0.1))),
]


@pytest.mark.parametrize("leaf, path, value", VALID)
def test_what_a_user_may_write_passes(leaf, path, value):
    cfg = config(leaf)
    if path == "custom_hooks.2":
        cfg.custom_hooks.append(value)
    elif path == "optim_wrapper.loss_scale":
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale=value)
    else:
        cfg = changed(leaf, path, value)
    assert wrong_settings(cfg) == []


def test_all_are_listed_and_the_first_is_named():
    cfg = changed(PRETRAIN, "train_cfg.max_epoch", 3)
    cfg.default_hooks.logger.intervall = 1
    assert len(wrong_settings(cfg)) == 2
    with pytest.raises(UserError, match=r"and 1 more: tools/doctor\.py lists them"):
        check_settings(cfg)
