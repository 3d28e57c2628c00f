"""PhaseHook: each epoch has the size and ratios of its phase, in persistent workers too; a resume goes on so."""
import shutil
from pathlib import Path

import pytest
import torch
from compile_toys import METHODS, build
from fake_steps import shrink
from mmengine.hooks import Hook
from noise_images import make_images
from shipped_configs import load
from torch._dynamo.testing import CompileCounterWithBackend

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.planning.gpus import GPUS
from mimtransfer.planning.plan import Plan
from mimtransfer.planning.schedule import Length
from mimtransfer.planning.step import Cost
from mimtransfer.results.record import read_record
from mimtransfer.training.safeguards import set_safeguards
from pretrain.data.images import ImageFolder
from pretrain.data.transforms import ResizeWhole
from pretrain.hooks.phases import read_phases
from pretrain.planning import configs as planning
from pretrain.planning.phases import dearest_phase
from pretrain.planning.task import pretraining_task
from pretrain.runner import build_runner

DEBUG = "debug/mae_vit-debug_2e_folder.py"
PHASES = [dict(until=0.5, image_size=16, mask_ratio=0.5), dict(until=1.0)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), 8, (40, 48))


class Seen(Hook):
    """Note the size of each batch, and how many of its patches are masked."""

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        size, strategy = data_batch["inputs"].shape[-1], runner.model.strategy
        self.batches.append((runner.epoch, size, strategy.counts((size // 8) ** 2).masked))
        within = Path(runner.work_dir, "iter_5.pth")
        if within.exists():  # the end of the epoch removes it
            shutil.copy(within, within.with_name("within_epoch.pth"))


def runner_of(images, work_dir, phases=PHASES, resume=None, **options):
    """Two iterations an epoch, four epochs, one worker that persists."""
    cfg = load(DEBUG)
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.root = str(images)
    cfg.train_cfg.max_epochs = cfg.param_scheduler[0].end = cfg.param_scheduler[0].T_max = 4
    kept = [hook for hook in cfg.custom_hooks if hook.type != "ReconstructionHook"]
    cfg.custom_hooks = [*kept, dict(type="PhaseHook", phases=phases)]
    cfg.merge_from_dict(options)
    cfg.work_dir = str(work_dir)
    launch.enter_scope(cfg)
    launch.set_resume(cfg, resume)
    set_safeguards(cfg, save_every_iters=5)
    runner = build_runner(cfg)
    seen = Seen()
    runner.register_hook(seen)
    return runner, seen


@pytest.fixture(scope="module")
def whole_run(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    runner, seen = runner_of(images, folder, **{"default_hooks.checkpoint.max_keep_ckpts": 10})
    runner.train()
    return folder, seen.batches


def test_each_epoch_has_its_phase_in_workers_too(whole_run):
    folder, batches = whole_run
    assert batches == [(0, 16, 2)] * 2 + [(1, 16, 2)] * 2 + [(2, 32, 12)] * 2 + [(3, 32, 12)] * 2
    assert read_record(folder / "result.json")["schedule"]["phases"] == PHASES


@pytest.mark.parametrize(("name", "iterations"), [("epoch_1.pth", 6), ("within_epoch.pth", 3)])
def test_a_resume_is_the_run_that_was_never_stopped(name, iterations, images, whole_run, tmp_path):
    folder, batches = whole_run
    runner, seen = runner_of(images, tmp_path, resume=str(folder / name))
    runner.train()
    assert seen.batches == batches[-iterations:]
    expected, found = (read_checkpoint(path / "epoch_4.pth") for path in (folder, tmp_path))
    assert all(torch.equal(found["state_dict"][key], value) for key, value in expected["state_dict"].items())


def test_crops_are_the_same_boxes_at_any_size(images):
    images = ImageFolder(dict(type="RandomResizedCropFlip", size=32), root=str(images), seed=0)
    whole = images.shown_by(images.transform)
    images.image_size = (16, 24)
    for small, large in ((images[1, index], whole[1, index]) for index in range(4)):
        assert small["inputs"].shape == (3, 16, 24) and large["inputs"].shape == (3, 32, 32)
        assert all(torch.equal(*pair) for pair in zip(small["record"], large["record"]))
    squashed = images.shown_by(ResizeWhole(32))  # its own transform at that size, too
    squashed.image_size = (16, 24)
    assert squashed[1, 0]["record"].box.tolist() == [0, 0, 1, 1] and squashed[1, 0]["inputs"].shape == (3, 16, 24)
    images.image_size = None
    assert torch.equal(images[1, 2]["inputs"], whole[1, 2]["inputs"])


def test_each_phase_is_one_graph():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    model = build(METHODS["MAE"], compile_loss=counter)
    for graphs, (size, ratio) in enumerate([(16, 0.5), (32, 0.75)], start=1):
        model.strategy.set_ratios(ratio, 0.0)
        for seed in range(2):
            batch = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
            found = model(batch)["loss"]
        assert counter.frame_count == graphs
        torch.testing.assert_close(found, model.eval()(batch)["loss"])  # eager
        model.train()


def test_shares_become_whole_epochs():
    phases = [dict(until=0.5, image_size=(128, 96)), dict(until=0.8, mask_ratio=0.6), dict(until=1.0)]
    assert [(one.begin, one.end) for one in read_phases(phases, 7)] == [(0, 4), (4, 6), (6, 7)]
    assert str(read_phases(phases, 10)[0]) == "epochs 0 to 4: images 128 x 96"
    assert str(read_phases(phases, 10)[2]) == "epochs 8 to 9: as in the config"


@pytest.mark.parametrize(("phases", "told"), [
    ([], "got phases="), ([dict(image_size=16)], "expected until="), ([dict(until=1.0, size=16)], "expected until="),
    ([dict(until=0.5), dict(until=0.5), dict(until=1.0)], "has none of the 4 epochs"),
    ([dict(until=0.1, image_size=16), dict(until=1.0)], "has none of the 4 epochs"),
    ([dict(until=0.5)], r"until=0.5; expected 1.0"), ([dict(until=1.0, image_size="16")], "got the phase"),
    ([dict(until=1.0, mask_ratio="0.5")], "got the phase"),
])  # fmt: skip
def test_phases_that_make_no_sense_are_refused(phases, told):
    with pytest.raises(UserError, match=f"PhaseHook: .*{told}"):
        read_phases(phases, 4)


@pytest.mark.parametrize(("phases", "options", "told"), [
    ([dict(until=0.5), dict(until=1.0, image_size=20)], {}, "epochs 2 to 3: .*20 x 20 pixels and patches of 8 x 8"),
    ([dict(until=0.5), dict(until=1.0, throw_ratio=0.5)], {},
     r"PhaseHook, epochs 2 to 3: .*got mask_ratio=0.75, throw_ratio=0.5; expected"),
    ([dict(until=0.5), dict(until=1.0, mask_ratio=0.05)], {}, "2 to 3: .*nothing to predict, got mask_ratio=0.05"),
    ([dict(until=0.5), dict(until=1.0, image_size=24)], {"model.strategy": dict(
        _delete_=True, type="AMTMasking", unit=2, warmup=dict(type="RandomMasking"))}, "a grid of 3 x 3 patches"),
    ([dict(until=0.5), dict(until=1.0, mask_ratio=0.4)],
     {"model.decoder": dict(_delete_=True, type="CrossDecoder", embed_dim=32, depth=1, num_heads=2, predict_ratio=0.5)},
     "epochs 2 to 3: mask_ratio 0.4: MAE: got predict_ratio=0.5 of the decoder and mask_ratio=0.4 of RandomMasking"),
])  # fmt: skip
def test_a_mistake_in_the_last_phase_shows_before_the_first(phases, options, told, images, tmp_path):
    runner, seen = runner_of(images, tmp_path, phases, **options)
    with pytest.raises(UserError, match=told):
        runner.train()
    assert not seen.batches


def test_a_plan_counts_all_phases(monkeypatch):
    """Half of the epochs on a quarter of the patches: memory and rate of the whole image, and fewer hours."""
    cfg = load(DEBUG)
    shrink(cfg)
    cfg.model.pop("strategy", None)  # the method's own, with ratios of the phases
    cfg.custom_hooks = [dict(type="PhaseHook", phases=PHASES)]
    monkeypatch.setattr(planning, "_read", lambda path, options: (cfg, cfg, pretraining_task(cfg)))
    monkeypatch.setattr(planning, "quick_seconds", lambda own, shipped, task, *rest: 100.0 * task.size[0])
    dearest = dearest_phase(cfg, False)
    monkeypatch.setattr(planning, "dearest_phase", lambda own, amp: dearest if own is cfg else None)
    seconds = planning.estimate_seconds("toy", [], GPUS["h100"], 1, False)
    assert seconds == pytest.approx(3200 * dearest.work) and 0.5 < dearest.work < 0.75
    cost = Cost(10**9, {}, "forward", 0, 0)
    numbers = dict(gpus=1, batch=8, accumulation=1, buckets=0, largest=8, checked=0, checked_error=0.0, mfu=0.3,
                   loaders=1)
    plain = Plan("toy", "pretrain", (32, 32), False, GPUS["h100"], cost=cost, length=Length(1000.0, ""),
                 loaders_told="", notes=(), **numbers)
    monkeypatch.setattr(planning, "make_plan", lambda path, own, shipped, task: plain._replace(size=task.size))
    plan = planning.plan_config("toy", [])
    assert plan.size == (32, 32) and plan.seconds == pytest.approx(plain.seconds * plan.work)
    assert "2 phases" in plan.notes[-1] and "epochs 1 to 1: as in the config" in plan.notes[-1]
