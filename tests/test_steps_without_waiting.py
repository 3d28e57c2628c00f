"""Ten pretraining steps through the Runner's loop, hooks included: the host reads nothing from the device but at the
logging interval.

The run is a real one on the CPU, where numbers are read by the same operators and methods as on a GPU; copies to the
device are watched in test_fake_cuda.py.
"""
import pytest
import torch
from fake_cuda import Watch
from mmengine.hooks import Hook
from noise_images import make_images
from shipped_configs import load

from mimtransfer.cli import launch
from mimtransfer.training.safeguards import set_safeguards
from pretrain.runner import build_runner

STEPS, INTERVAL = 10, 4


class CountHook(Hook):
    """Note in which iterations the host waits, from the first hook of an iteration to the last."""

    priority = "HIGHEST"

    def __init__(self):
        self.watch = Watch(strict=False, device="cpu")
        self.counts = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.watch.__enter__()


class EndHook(Hook):
    """Close the count of an iteration."""

    priority = "LOWEST"

    def __init__(self, count):
        self.count = count

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.count.watch.__exit__(None, None, None)
        self.count.counts.append(dict(self.count.watch.waits))
        self.count.watch.waits.clear()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), 2 * STEPS, (32, 32))


@pytest.fixture(autouse=True)
def watched_methods(monkeypatch):
    """Let methods that read all numbers of a tensor, for which the CPU needs no operator, be seen as well."""
    def seen(read):
        def read_and_say_so(tensor):
            tensor.sum().item()
            return read(tensor)

        return read_and_say_so

    for name in ("tolist", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, seen(getattr(torch.Tensor, name)))


@pytest.mark.parametrize("leaf", ["debug/mae_vit-debug_2e_folder.py", "pretrain/mae_amt_vit-tiny-p4_10e_cifar10.py"])
def test_the_host_reads_at_the_logging_interval_only(leaf, images, tmp_path, monkeypatch):
    cfg = load(leaf)
    cfg.model.encoder.model_kwargs = dict(depth=1, embed_dim=48, num_heads=3)
    cfg.train_dataloader.update(batch_size=2, num_workers=0)
    cfg.train_dataloader.dataset.root = str(images)
    cfg.train_dataloader.dataset.pop("num_images", None)
    cfg.train_dataloader.pop("persistent_workers", None)
    cfg.train_cfg.max_epochs = 1
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    cfg.default_hooks.logger.interval = INTERVAL
    for hook in cfg.custom_hooks:
        if hook.type == "FiniteLossHook":
            hook.interval = INTERVAL
        if hook.type == "MapBankHook":
            hook.update(begin=0, interval=1, num_workers=0)
    cfg.work_dir = str(tmp_path / "run")
    launch.enter_scope(cfg)
    set_safeguards(cfg)
    runner = build_runner(cfg)
    count = CountHook()
    runner.register_hook(count)
    runner.register_hook(EndHook(count))
    runner.train()
    assert len(count.counts) == STEPS
    for number, waits in enumerate(count.counts, start=1):
        assert bool(waits) == (number % INTERVAL == 0), f"iteration {number}: {waits}"
