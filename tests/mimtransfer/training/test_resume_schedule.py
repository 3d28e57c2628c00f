"""A resume with another batch, number of processes, length or lr goes on like a run that had it from the start."""
import contextlib
import json
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints, read_checkpoint
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.errors import UserError
from mimtransfer.training.batch import META_KEY, Batch, recorded_batch
from mimtransfer.training.recipes import iteration_cosine, iteration_linear, warmup_cosine
from mimtransfer.training.schedule_hook import ScheduleHook

sys.path.append(str(Path(__file__).parents[2] / "helpers"))
from forked_tool import run_tool
from noise_images import make_images

ROOT = Path(__file__).parents[3]
IMAGES = 64


class Line(BaseModel):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode="loss"):
        return {"loss": self.layer(inputs / IMAGES).square().mean()}


class Numbers(torch.utils.data.Dataset):
    """A data set of 0 to 63."""

    def __len__(self):
        return IMAGES

    def __getitem__(self, i):
        return {"inputs": torch.tensor([float(i)])}


class Rates(Hook):
    """Note the lr of each iteration and the images of its batch; stop after some."""

    priority = "LOWEST"

    def __init__(self, stop=None):
        self.stop, self.rates, self.images = stop, {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates[runner.iter] = [group["lr"] for group in runner.optim_wrapper.param_groups]
        self.images += data_batch["inputs"].flatten().tolist()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.stop and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise KeyboardInterrupt

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.stop and isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise KeyboardInterrupt


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train the line; give its rates and images, and the Runner."""
    number = iter(range(100))
    allow_mmengine_checkpoints()
    if "Line" not in MODELS:
        MODELS.register_module(module=Line)
        DATASETS.register_module(module=Numbers)

    def run(schedule, batch, train_cfg, *, stop=None, resume=None, accumulate=1, lr=0.1, hook=True, every=1, decay=0.0):
        by_epoch = "max_epochs" in train_cfg
        cfg = Config(dict(
            model=dict(type="Line"),
            work_dir=str(tmp_path / "run"),
            train_cfg=train_cfg,
            train_dataloader=dict(
                batch_size=batch, num_workers=0, dataset=dict(type="Numbers"),
                sampler=dict(type="DefaultSampler" if by_epoch else "InfiniteSampler", shuffle=True),
                collate_fn=dict(type="default_collate"),
            ),
            optim_wrapper=dict(
                optimizer=dict(type="SGD", lr=lr, momentum=0.5, weight_decay=decay), accumulative_counts=accumulate,
            ),
            auto_scale_lr=dict(enable=True, base_batch_size=16 / accumulate),
            param_scheduler=schedule,
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=every, by_epoch=by_epoch)),
            randomness=dict(seed=1), resume=resume is not None, load_from=resume,
        ))
        runner, rates = Runner.from_cfg(cfg), Rates(stop)
        runner.register_hook(rates)
        if hook:
            runner.register_hook(ScheduleHook())
        with contextlib.suppress(KeyboardInterrupt):
            runner.train()
        return rates, runner

    def checkpoint(name, **meta):
        path = tmp_path / "run" / f"{name}.pth"
        if meta:
            content = read_checkpoint(str(path))
            content["meta"].update(meta)
            path = tmp_path / f"changed{next(number)}.pth"  # tensors are mapped from the file that was read
            torch.save(content, path)
        return str(path)

    run.checkpoint = checkpoint
    return run


def cosine(epochs):
    return warmup_cosine(epochs=epochs, warmup=3, start_factor=0.01), dict(by_epoch=True, max_epochs=epochs)


def mixed(epochs):
    """mmdet's 1x: warm-up in iterations, steps in epochs."""
    warmup = dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=10)
    steps = dict(type="MultiStepLR", milestones=[1, 4], gamma=0.1, by_epoch=True, begin=0, end=epochs)
    return [warmup, steps], dict(by_epoch=True, max_epochs=epochs)


@pytest.mark.parametrize("recipe", [cosine, mixed])
@pytest.mark.parametrize("before, now, length", [((8, 8), (16, 8), "larger batch"), ((16, 8), (8, 8), "smaller batch"),
                                                 ((8, 8), (8, 16), "longer"), ((16, 8), (8, 12), "both")])
def test_epochs(train, recipe, before, now, length):
    schedule, loop = recipe(before[1])
    train(schedule, before[0], loop, stop=2)
    batch, epochs = now
    schedule, loop = recipe(epochs)
    resumed, _ = train(schedule, batch, loop, resume=train.checkpoint("epoch_2"))
    whole, _ = train(schedule, batch, loop)
    first = 2 * IMAGES // batch
    assert list(resumed.rates) == list(range(first, epochs * IMAGES // batch)), length
    for iteration, rates in resumed.rates.items():
        assert rates == pytest.approx(whole.rates[iteration], rel=1e-12), iteration
    assert sorted(resumed.images[:IMAGES]) == list(range(IMAGES))  # whole epochs


def poly(iters):
    train_cfg, schedule = iteration_linear(iters, warmup=5, start_factor=0.01)
    return schedule, train_cfg


def half_cosine(iters):
    train_cfg, schedule = iteration_cosine(iters, warmup=5)
    return schedule, train_cfg


@pytest.mark.parametrize("recipe", [poly, half_cosine])
@pytest.mark.parametrize("before, now", [((8, 40), (16, 20)), ((16, 20), (8, 40)), ((8, 40), (8, 60)),
                                         ((8, 40), (12, 30))])
def test_iterations(train, recipe, before, now):
    schedule, loop = recipe(before[1])
    train(schedule, before[0], loop, stop=12, every=6)
    position = round(12 * before[0] / now[0])
    schedule, loop = recipe(now[1])
    resumed, _ = train(schedule, now[0], loop, resume=train.checkpoint("iter_12"))
    whole, _ = train(schedule, now[0], loop)
    assert list(resumed.rates) == list(range(position, now[1]))
    for iteration, rates in resumed.rates.items():
        assert rates == pytest.approx(whole.rates[iteration], rel=1e-12), iteration
    # The data go on where they were: the first run's images are not shown again before the others.
    assert resumed.images == whole.images[position * now[0]:]


def test_without_the_hook_the_old_schedule_stays(train):
    """What mmengine does, and what all this is about: half of the peak lr for twice the batch."""
    schedule, loop = cosine(16)
    train(schedule, 8, loop, stop=2)
    resumed, _ = train(schedule, 16, loop, resume=train.checkpoint("epoch_2"), hook=False)
    whole, _ = train(schedule, 16, loop)
    assert max(r[0] for r in resumed.rates.values()) < 0.62 * max(r[0] for r in whole.rates.values())


def test_nothing_changed_nothing_touched(train):
    schedule, loop = cosine(6)
    whole, done = train(schedule, 8, loop)
    weights = done.model.state_dict()
    resumed, runner = train(schedule, 8, loop, resume=train.checkpoint("epoch_2"))
    assert all(resumed.rates[i] == whole.rates[i] for i in range(16, 48))
    assert all(torch.equal(weights[name], value) for name, value in runner.model.state_dict().items())
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, ScheduleHook))
    assert hook.notes == []


def test_weights_and_momentum_stay(train):
    schedule, loop = cosine(6)
    train(schedule, 8, loop, stop=2)
    path = train.checkpoint("epoch_2")
    saved = read_checkpoint(str(path))
    _, runner = train(schedule, 16, dict(by_epoch=True, max_epochs=2), resume=path)
    assert torch.equal(runner.model.layer.weight, saved["state_dict"]["layer.weight"])
    assert runner.optim_wrapper.state_dict()["state"][0]["momentum_buffer"] == \
        saved["optimizer"]["state"][0]["momentum_buffer"]


def test_another_lr_or_decay_is_applied(train):
    """What our advice after a NaN says: lower the lr and resume."""
    schedule, loop = cosine(6)
    train(schedule, 8, loop, stop=2)
    resumed, runner = train(schedule, 8, loop, lr=0.025, decay=0.1, resume=train.checkpoint("epoch_2"))
    whole, _ = train(schedule, 8, loop, lr=0.025, decay=0.1)
    assert all(resumed.rates[i] == whole.rates[i] for i in resumed.rates)
    assert runner.optim_wrapper.param_groups[0]["weight_decay"] == 0.1


def test_without_schedulers_the_scaled_lr_is_applied(train):
    train(None, 8, dict(by_epoch=True, max_epochs=4), stop=2)
    resumed, _ = train(None, 16, dict(by_epoch=True, max_epochs=4), resume=train.checkpoint("epoch_2"))
    assert {rates[0] for rates in resumed.rates.values()} == {0.1}  # of 16 images; it was 0.05


def test_accumulation_resumes_at_a_whole_step(train):
    schedule, loop = poly(40)
    train(schedule, 16, loop, stop=10, every=5)
    schedule, loop = poly(160)
    resumed, _ = train(schedule, 5, loop, accumulate=4, resume=train.checkpoint("iter_10"))
    whole, _ = train(schedule, 5, loop, accumulate=4)
    assert min(resumed.rates) == 32  # 160 images; a step has 20
    assert all(resumed.rates[i] == pytest.approx(whole.rates[i]) for i in resumed.rates)


def test_files_of_later_iterations_are_not_pruned_as_old_ones(train):
    schedule, loop = poly(40)
    train(schedule, 8, loop, stop=12, every=4)
    _, runner = train(schedule, 16, dict(loop, max_iters=9), every=4, resume=train.checkpoint("iter_12"))
    content = read_checkpoint(str(Path(runner.work_dir) / "iter_9.pth"))
    kept = content["message_hub"]["runtime_info"].get("keep_ckpt_ids", [])
    assert len(kept) == len(set(kept))


def test_checkpoints_of_earlier_versions(train):
    """They name the batch in their config and the processes in their signature; without it iterations count on."""
    schedule, loop = half_cosine(40)
    train(schedule, 8, loop, stop=12, every=6)
    text = "train_dataloader = dict(batch_size=8, dataset=dict(type='X'))\noptim_wrapper = dict(type='Y')\n"
    old = train.checkpoint("iter_12", **{META_KEY: None}, cfg=text, mimtransfer={"processes": 1})
    resumed, _ = train(schedule, 16, loop, resume=old)
    assert min(resumed.rates) == 6
    unknown = train.checkpoint("iter_12", **{META_KEY: None}, cfg="import os", mimtransfer=None)
    resumed, runner = train(schedule, 16, loop, resume=unknown)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, ScheduleHook))
    assert min(resumed.rates) == 12 and "does not say with which batch" in hook.notes[0]


@pytest.mark.parametrize("meta, expected", [
    ({"batch": dict(size=8, processes=2, accumulation=1, epoch_length=9)}, Batch(8, 2, 1)),
    ({"batch": dict(size=0, processes=2, accumulation=1)}, None),
    ({"batch": dict(size="8", processes=2, accumulation=1)}, None),
    ({"batch": dict(size=True, processes=2, accumulation=1)}, None),
    ({"cfg": "train_dataloader = dict(batch_size=4)\n", "mimtransfer": {"processes": 8}}, Batch(4, 8, 1)),
    ({"cfg": "train_dataloader = dict(batch_size=4)\n"}, None), ({"cfg": "x = f()"}, None), ({"cfg": 3}, None),
    ({}, None),
])
def test_recorded_batch(meta, expected):
    assert recorded_batch(meta) == expected


def test_a_checkpoint_of_another_model_is_refused(train, monkeypatch):
    schedule, loop = warmup_cosine(epochs=4, warmup=1), dict(by_epoch=True, max_epochs=4)
    train(schedule, 8, loop, stop=2)
    before = Line.__init__

    def with_more(self):
        before(self)
        self.more = torch.nn.Linear(1, 1)

    monkeypatch.setattr(Line, "__init__", with_more)
    with pytest.raises(UserError, match=r"^--resume: .* another model: Line has more.weight, which it lacks; resume"):
        train(schedule, 8, loop, resume=train.checkpoint("epoch_2"))


def test_a_schedule_that_follows_scores_is_refused(train, monkeypatch):
    plateau = [dict(type="ReduceOnPlateauLR", monitor="loss")]
    loop = dict(by_epoch=True, max_epochs=4)
    train(plateau, 8, loop, stop=2)
    with pytest.raises(UserError, match="ReduceOnPlateau"):
        train(plateau, 16, loop, resume=train.checkpoint("epoch_2"))
    resumed, _ = train(plateau, 8, loop, resume=train.checkpoint("epoch_2"))
    assert min(resumed.rates) == 16


def logged(work_dir):
    """Return step and lr of all runs in a work dir, in the order they were logged."""
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(line["step"], line["lr"]) for line in lines if "lr" in line]


def printed(work_dir):
    return max(Path(work_dir).glob("*/*.log")).read_text()


def test_pretraining_from_two_processes_to_one(tmp_path):
    """tools/pretrain.py, 2 x 8 images (gloo), killed in the second epoch of 4, goes on alone with 8."""
    images = make_images(tmp_path / "images")
    epochs = 4
    text = f"""
_base_ = [{str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")!r}]
custom_imports = dict(imports=["probe_hook"])
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root={str(images)!r}))
train_cfg = dict(max_epochs={epochs})
param_scheduler = [dict(type="CosineAnnealingLR", T_max={epochs}, eta_min=0.0, begin=0, end={epochs}, by_epoch=True,
                        convert_to_iter_based=True)]
"""
    (tmp_path / "config.py").write_text(text)
    (tmp_path / "killed.py").write_text(text + 'custom_hooks = [dict(type="RecordHook"), dict(type="KillHook", at=3)]')
    work_dir, log = tmp_path / "run", tmp_path / "log.txt"
    killed = run_tool(log, tmp_path / "killed.py", "--work-dir", work_dir, "--launcher", "pytorch", processes=2,
                      port=29547)
    assert -9 in killed, log.read_text()[-2000:]
    assert run_tool(log, tmp_path / "config.py", "--work-dir", work_dir, "--resume") == [0], log.read_text()[-2000:]
    rates = logged(work_dir)[2:]
    assert [step for step, _ in rates] == list(range(5, 17))
    for step, rate in rates:
        assert rate == pytest.approx(1e-3 * 8 / 256 * (1 + math.cos(math.pi * (step - 1) / 16)) / 2, rel=1e-6)
    assert "Schedule: 8 images a step (8 x 1 process), 16 steps, 128 images, peak lr 3.125e-05" in printed(work_dir)
    assert "batch 8 x 2 processes -> 8 x 1 process; schedule: T_max, base_values, end" in printed(work_dir)
    assert "at iteration 4 of 16 (iteration 2 of the run before)" in printed(work_dir)


def test_segmentation_with_twice_the_batch(tmp_path, monkeypatch):
    """tools/train.py: after 2 iterations of 2 images, a batch of 4 goes on at its second iteration."""
    make_scenes(tmp_path / "data/scenes", SceneSet(counts={"train": 4, "val": 2, "unlabelled": 0}), workers=1,
                progress=False)
    monkeypatch.chdir(tmp_path)
    options = [f"train_cfg.{key}=4" for key in ("max_iters", "val_interval")] + [
        "default_hooks.checkpoint.interval=2", "default_hooks.checkpoint.max_keep_ckpts=2",
        "default_hooks.logger.interval=1", "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False", "val_dataloader.num_workers=0"]

    def call(batch, *arguments):
        argv = ["train", str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py"), "--work-dir", "seg",
                *arguments, "--cfg-options", *options, f"train_dataloader.batch_size={batch}"]
        monkeypatch.setattr(sys, "argv", argv)
        runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")

    call(2)
    first = logged("seg")
    call(4, "--resume", "seg/iter_2.pth")
    assert [step for step, _ in first] == [1, 2, 3, 4]
    assert logged("seg")[4:] == first[1:]  # by this config the lr does not depend on the batch
    # The curve of the loss: two iterations of 2 images are one of 4.
    steps = [step for step, _ in json.loads(Path("seg/result.json").read_text())["curves"]["loss"]]
    assert steps == [0.5, 1, 2, 3, 4]
    assert "batch 2 x 1 process -> 4 x 1 process" in printed("seg")
    assert "at iteration 1 of 4 (iteration 2 of the run before)" in printed("seg")
