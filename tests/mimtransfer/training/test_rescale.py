"""A recipe on 1, 4, 8 or 64 GPUs sees the same images: length, warm-up, milestones, evaluations, checkpoints."""
from pathlib import Path

import pytest
from mmengine.config import Config

from mimtransfer.checks.recipe import recipe_of, recipe_warnings, run_of
from mimtransfer.cli import launch
from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.training.batch import count_processes
from mimtransfer.training.recipes import vitdet_schedule
from mimtransfer.training.rescale import rescale_schedule

CONFIGS = Path(__file__).parents[3] / "configs"
COCO = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"


def load(name, *options):
    return launch.load_config(str(CONFIGS / name), list(options))


def run(name, processes, *options):
    """Return the config of a run, and the lines for its log."""
    cfg = load(name, *options)
    return cfg, rescale_schedule(cfg, load(name), processes, options)


@pytest.mark.parametrize("gpus, batch", [(1, 4), (4, 4), (8, 4), (8, 8), (64, 1), (64, 4), (1, 64), (4, 16)])
def test_vitdet_sees_100_epochs_on_any_number_of_gpus(gpus, batch):
    cfg, lines = run(COCO, gpus, f"train_dataloader.batch_size={batch}")
    images = gpus * batch
    train_cfg, (warmup, steps) = vitdet_schedule(epochs=100, batch=images)
    assert cfg.train_cfg.max_iters == pytest.approx(train_cfg["max_iters"], abs=1)
    assert cfg.train_cfg.max_iters * images == pytest.approx(11_800_000, abs=images)
    found = cfg.param_scheduler
    assert found[0].end == max(warmup["end"], 1) and found[1].end == cfg.train_cfg.max_iters
    assert found[1].milestones == pytest.approx(steps["milestones"], abs=max(1, 64 / images))
    # Evaluations after 20000 x 64 images each, nine of them, and one at the end.
    (last, final), = cfg.train_cfg.dynamic_intervals
    assert cfg.train_cfg.val_interval * images == 20000 * 64 and last == 9 * cfg.train_cfg.val_interval + 1
    assert final == cfg.train_cfg.max_iters
    assert cfg.default_hooks.checkpoint.interval * images == 5000 * 64
    launch.count_accumulation(cfg)
    assert run_of(cfg, gpus).lr == pytest.approx(1e-4 * images / 64)
    assert recipe_warnings(recipe_of(load(COCO)), run_of(cfg, gpus)) == []
    assert (lines == []) is (images == 64)
    if (gpus, batch) == (8, 4):  # the README's command of before: half of the recipe
        assert lines == ["The recipe counts iterations of 64 images, here an iteration has 32 (4 x 8 processes): "
                         "184375 become 368750; warm-up, milestones, evaluations and checkpoints likewise"]


def test_fingerprints():
    """8 x 8 and 64 x 1 are one protocol, that of the config as it was; 8 x 4 is another: its batch and lr."""
    def of(processes, batch):
        cfg, _ = run(COCO, processes, f"train_dataloader.batch_size={batch}")
        return protocol_config(cfg, "val", processes)

    before = load(COCO, "train_dataloader.batch_size=64")
    before.pop("auto_scale_iters")  # as kept records know the config
    assert fingerprint(of(8, 8)) == fingerprint(of(64, 1)) == fingerprint(protocol_config(before, "val", 1))
    half = of(8, 4)
    assert half["train_dataloader.total_batch_size"] == 32 and half["train_cfg.max_iters"] == 368750
    assert fingerprint(half) != fingerprint(of(8, 8)) and fingerprint(half) == fingerprint(of(32, 1))


def test_accumulation_counts_whole_steps():
    name = "detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py"  # 8 x 4 x 2 accumulated as shipped
    cfg, lines = run(name, 8)
    assert lines == [] and cfg.train_cfg.max_iters == 92188
    cfg, _ = run(name, 1, "optim_wrapper.accumulative_counts=16")
    assert cfg.train_cfg.max_iters == 92188 // 2 * 16  # steps of 64 images
    launch.count_accumulation(cfg)
    assert recipe_warnings(recipe_of(load(name)), run_of(cfg, 1)) == []
    cfg, _ = run(name, 1, "optim_wrapper.accumulative_counts=6")
    counts = [cfg.train_cfg.max_iters, cfg.train_cfg.val_interval, *cfg.param_scheduler[1].milestones]
    assert all(count % 6 == 0 for count in counts)
    assert cfg.train_cfg.max_iters * 4 == pytest.approx(92188 * 32, abs=24)


def test_what_the_command_line_sets_stays():
    options = ["train_cfg.max_iters=1000", "train_dataloader.batch_size=8", "param_scheduler.1.milestones=[600,900]"]
    cfg, lines = run(COCO, 2, *options)
    assert cfg.train_cfg.max_iters == 1000 and cfg.param_scheduler[1].milestones == [600, 900]
    assert cfg.param_scheduler[0].end == 1000  # 16000 images
    assert lines[1] == "Not scaled, since the command line sets them: train_cfg.max_iters, param_scheduler.1.milestones"


@pytest.mark.parametrize("name, gpus, key, expected", [
    ("segmentation/upernet_vit-base_160k_ade20k-512x512.py", 1, "train_cfg.max_iters", 1280000),  # 2 images, not 16
    ("segmentation/upernet_vit-base_160k_ade20k-512x512.py", 8, "train_cfg.max_iters", 160000),
    ("segmentation/upernet_resnet50_160k_ade20k-512x512.py", 4, "train_cfg.max_iters", 160000),
    ("segmentation/upernet_resnet50_160k_ade20k-512x512.py", 8, "train_cfg.max_iters", 80000),
    ("segmentation/mask2former_vit-base_160k_ade20k-512x512.py", 4, "train_cfg.max_iters", 320000),
    ("detection/mask2former_vitdet_vit-base_50e_coco.py", 8, "train_cfg.max_iters", 368750),
    ("detection/mask2former_vitdet_vit-base_50e_coco.py", 16, "train_cfg.max_iters", 184375),
    ("detection/mask-rcnn_resnet50-fpn_1x_coco.py", 8, "param_scheduler.0.end", 500),
    ("detection/mask-rcnn_resnet50-fpn_1x_coco.py", 1, "param_scheduler.0.end", 4000),  # warm-up before epochs
    ("detection/mask-rcnn_vitdet_vit-base_12e_isaid.py", 4, "param_scheduler.0.end", 1000),
])
def test_other_recipes(name, gpus, key, expected):
    cfg, _ = run(name, gpus)
    for part in key.split("."):
        cfg = cfg[int(part)] if isinstance(cfg, list) else cfg[part]
    assert cfg == expected


def test_every_scaled_recipe_says_so():
    """Where the lr follows the batch, the iterations do: no shipped config scales one and not the other."""
    forgotten = []
    for path in sorted(CONFIGS.glob("*/*.py")):
        text = path.read_text()
        if "auto_scale_lr = dict(enable=True" in text and "auto_scale_iters = True" not in text:
            forgotten.append(path.name)
    assert forgotten == []


def own(**more):
    return Config(dict(
        train_dataloader=dict(batch_size=2), optim_wrapper=dict(optimizer=dict(lr=0.02)),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=90000, val_begin=1, val_interval=5000),
        auto_scale_lr=dict(enable=True, base_batch_size=16),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
            dict(type="CosineAnnealingLR", by_epoch=False, begin=500, end=90000, T_max=89500),
            dict(type="ExponentialLR", by_epoch=False, gamma=0.81), dict(type="StepLR", by_epoch=True, step_size=3),
        ],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=-1),
                           logger=dict(type="LoggerHook", interval=50)),
        **more,
    ))


def test_a_config_of_mmdet_is_left_alone_and_warned_of():
    cfg = own()
    assert rescale_schedule(cfg, own(), 1) == [] and cfg.to_dict() == own().to_dict()
    (line,) = recipe_warnings(recipe_of(own()), run_of(cfg, 1))
    assert "0.125 times the images" in line and "auto_scale_iters=True" in line


def test_a_config_of_mmdet_that_asks_for_it():
    cfg = own(auto_scale_iters=True)
    rescale_schedule(cfg, own(), 4)
    warmup, cosine, decay, steps = cfg.param_scheduler
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval, cfg.train_cfg.val_begin) == (180000, 10000, 1)
    assert (warmup.begin, warmup.end, cosine.begin, cosine.end, cosine.T_max) == (0, 1000, 1000, 180000, 179000)
    assert decay.gamma == pytest.approx(0.9) and steps.step_size == 3
    assert cfg.default_hooks.checkpoint.interval == -1 and cfg.default_hooks.logger.interval == 50


def test_a_warm_up_keeps_an_iteration_and_several_optimizers_are_scaled():
    cfg = own(auto_scale_iters=True)
    cfg.param_scheduler = dict(a=cfg.param_scheduler[:2], b=cfg.param_scheduler[0])
    rescale_schedule(cfg, own(), 8 * 1024)
    # In a warm-up of one iteration the lr of mmengine never rises.
    assert cfg.param_scheduler["b"]["end"] == 2 and cfg.param_scheduler["a"][0]["end"] == 2
    assert cfg.param_scheduler["a"][1]["end"] == cfg.train_cfg.max_iters == 88


@pytest.mark.parametrize("launcher, env, expected", [
    ("none", {"WORLD_SIZE": "8"}, 1), ("pytorch", {"WORLD_SIZE": "8"}, 8), ("slurm", {"SLURM_NTASKS": "16"}, 16),
    ("mpi", {"OMPI_COMM_WORLD_SIZE": "4"}, 4),
])
def test_processes_of_a_launcher(launcher, env, expected, monkeypatch):
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    assert count_processes(launcher) == expected
