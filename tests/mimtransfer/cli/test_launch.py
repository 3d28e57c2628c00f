"""What the tools do to a config before it runs."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.results.description import protocol_of
from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.training import precision

CONFIG = """
model = dict(backbone=dict(type="X", norm_cfg=dict(type="SyncBN")), heads=[dict(norm_cfg=dict(type="MMSyncBN"))])
optim_wrapper = dict(type="OptimWrapper", loss_scale="dynamic", accumulative_counts=4, optimizer=dict(lr=1.0))
auto_scale_lr = dict(enable=True, base_batch_size=64)
sync_bn = "torch"
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text(CONFIG)
    return str(file)


def test_options_are_read_as_mmengine_reads_them(path):
    cfg = launch.load_config(path, ["optim_wrapper.optimizer.lr=0.5", "model.sizes=[(1,2),(3,4)]", "work_dir=here",
                                    "compile=True"])
    assert cfg.optim_wrapper.optimizer == {"lr": 0.5}
    assert cfg.model.sizes == [(1, 2), (3, 4)] and cfg.work_dir == "here" and cfg.compile is True


@pytest.mark.parametrize("option, message", [
    ("modle.backbone=1", "did you mean 'model'"), ("lr", "expected KEY=VALUE"), ("zzz=1", "the config has"),
    ("model.corruption=dict(type='Blur')", r"write model\.corruption\.type=NAME, and model\.corruption\._delete_=True"),
])
def test_unknown_options(path, option, message):
    with pytest.raises(UserError, match=message):
        launch.load_config(path, [option])


def test_work_dir(path):
    for given, inside, expected in [("a", "b", "a"), (None, "b", "b"), (None, None, "work_dirs/recipe")]:
        cfg = Config(dict(work_dir=inside))
        launch.set_work_dir(cfg, given, path)
        assert cfg.work_dir == expected


def test_a_config_in_its_work_dir_stays_as_it_was_written(tmp_path):
    """mmengine writes what a run resolves to into the work dir, under the name of the config."""
    (file := tmp_path / "own.py").write_text("a = 1  # mine\n")
    cfg = launch.load_config(str(file), [])
    launch.set_work_dir(cfg, str(tmp_path), str(file))
    assert Path(cfg.filename).name == "run_own.py" and protocol_of(cfg) == "own"
    cfg = launch.load_config(str(file), [])
    launch.set_work_dir(cfg, str(tmp_path / "other"), str(file))
    assert Path(cfg.filename).name == "own.py" and "protocol" not in cfg


@pytest.mark.parametrize("cuda", [False, True])
def test_without_cuda_nothing_asks_for_it(path, cuda, monkeypatch):
    monkeypatch.setattr(launch, "is_cuda_available", lambda: cuda)
    started = []
    monkeypatch.setattr(launch.torch.distributed, "init_process_group", started.append)
    cfg = launch.load_config(path, [])
    launch.set_launcher(cfg, "pytorch")
    assert cfg.launcher == "pytorch" and started == ([] if cuda else ["gloo"])
    types = [cfg.model.backbone.norm_cfg.type, cfg.model.heads[0].norm_cfg.type]
    assert types == (["SyncBN", "MMSyncBN"] if cuda else ["BN", "BN"])
    assert cfg.get("sync_bn") == ("torch" if cuda else None)
    # device_ids=None: DDP on the CPU
    assert ("model_wrapper_cfg" in cfg) is not cuda and cfg.get("model_wrapper_cfg", {}).get("device_ids") is None
    if not cuda:
        with pytest.raises(UserError, match="use torchrun"):
            launch.set_launcher(cfg, "slurm")


@pytest.mark.parametrize("capability, expected", [(None, "Bf16"), ((8, 0), "Bf16"), ((7, 5), "float16")])
def test_amp_is_bf16_where_there_is_bf16(path, capability, expected, monkeypatch):
    monkeypatch.setattr(precision, "is_cuda_available", lambda: capability is not None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    cfg = launch.load_config(path, [])
    precision.set_amp(cfg, False)
    assert cfg.optim_wrapper.type == "OptimWrapper"
    precision.set_amp(cfg, True)
    if expected == "Bf16":
        assert cfg.optim_wrapper.type == "mimtransfer.Bf16OptimWrapper" and "loss_scale" not in cfg.optim_wrapper
    else:
        assert cfg.optim_wrapper.type == "AmpOptimWrapper" and cfg.optim_wrapper.dtype == "float16"


def test_accumulated_batches_count_for_the_lr(path):
    cfg = launch.load_config(path, [])
    launch.count_accumulation(cfg)
    # 2 GPUs x 8 images x 4 batches = 64: mmengine's ratio (2 * 8) / base is 1
    assert 2 * 8 / cfg.auto_scale_lr.base_batch_size == 1


def test_accumulation_is_counted_once_in_a_config_from_a_work_dir(path, tmp_path):
    """A run of the config that mmengine writes had the lr of `accumulative_counts` times the batch."""
    cfg = launch.load_config(path, [])
    launch.count_accumulation(cfg)
    cfg.dump(kept := str(tmp_path / "kept.py"))
    again = launch.load_config(kept, [])
    assert again.auto_scale_lr == launch.load_config(path, []).auto_scale_lr
    launch.count_accumulation(again)
    assert again.auto_scale_lr == cfg.auto_scale_lr
    assert fingerprint(protocol_config(again.to_dict())) == fingerprint(protocol_config(cfg.to_dict()))
    once = launch.load_config(kept, ["optim_wrapper.accumulative_counts=1"])
    launch.count_accumulation(once)
    assert once.auto_scale_lr.base_batch_size == 64


def test_seed_and_resume(path, tmp_path):
    cfg = launch.load_config(path, ["randomness.deterministic=True"])
    launch.set_seed(cfg, None)
    assert cfg.randomness == {"deterministic": True}
    launch.set_seed(cfg, 7)
    assert cfg.randomness == {"deterministic": True, "seed": 7}
    launch.set_resume(cfg, None)
    assert cfg.get("resume", False) is False
    cfg.work_dir = str(tmp_path)
    launch.set_resume(cfg, "auto")  # nothing to go on from: the run begins
    assert cfg.resume is False and cfg.get("load_from") is None
    torch.save({"state_dict": {}}, checkpoint := str(tmp_path / "epoch_1.pth"))
    for resume in (checkpoint, "auto", str(tmp_path)):
        launch.set_resume(cfg, resume)
        assert cfg.resume is True and cfg.load_from == checkpoint


@pytest.mark.parametrize("backbone", ["TimmViT", "mimtransfer.TimmViT", "TimmSwin", "mimtransfer.TimmSwin"])
def test_our_backbones_start_from_a_pretraining(path, tmp_path, backbone):
    checkpoint = str(tmp_path / "epoch_1.pth")
    torch.save({"state_dict": {}}, checkpoint)
    cfg = launch.load_config(path, [f"model.backbone.type={backbone}"])
    launch.set_pretrained(cfg, checkpoint)
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint=checkpoint)


def test_loaders_without_workers_lose_what_is_for_workers(tmp_path):
    path = tmp_path / "loaders.py"
    loader = "dict(num_workers=4, persistent_workers=True, prefetch_factor=2)"
    path.write_text(f"train_dataloader = {loader}\ntest_cfg = dict(memory_dataloader={loader})\n")
    options = ["train_dataloader.num_workers=0", "test_cfg.memory_dataloader.num_workers=0"]
    cfg = launch.load_config(str(path), options)
    assert cfg.train_dataloader == cfg.test_cfg.memory_dataloader == {"num_workers": 0}
    assert launch.load_config(str(path), []).train_dataloader.persistent_workers is True


@pytest.mark.parametrize("option, told", [
    ("image_size=512", r"nothing reads 'image_size' any more.*; set train_dataloader\.dataset\.pipeline\.0\.scale"),
    ("train_pipeline.0.scale=512", r"set train_dataloader\.dataset\.pipeline\.0\.scale$"),
    ("unused=1", r"nothing reads 'unused' any more, .* has made its values of it already$"),
])
def test_an_override_that_nothing_reads_is_refused(tmp_path, option, told):
    path = tmp_path / "sizes.py"
    path.write_text(
        "image_size = 1024\nunused = 'x'\ntrain_pipeline = [dict(type='Resize', scale=(image_size, image_size))]\n"
        "train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n"
    )
    with pytest.raises(UserError, match=told):
        launch.load_config(str(path), [option])


def test_what_is_read_by_a_tool_may_be_overridden(path):
    cfg = launch.load_config(path, ["task=detection", "protocol=x", "default_scope=mmdet", "auto_scale_lr.enable=True"])
    assert (cfg.task, cfg.protocol, cfg.default_scope, cfg.auto_scale_lr.enable) == ("detection", "x", "mmdet", True)


def test_weights_of_a_checkpoint_that_the_model_lacks_are_said_in_one_line(tmp_path, capsys):
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    state = {**model.state_dict(), "mask_head.weight": torch.zeros(3), "mask_head.bias": torch.zeros(3)}
    for name, more in (("plain.pth", ()), ("more.pth", state)):
        torch.save({"state_dict": {**model.state_dict(), **({k: state[k] for k in more})}}, tmp_path / name)
        launch.check_checkpoint(model, str(tmp_path / name))
        said = capsys.readouterr()
        lines = [line for line in (said.out + said.err).splitlines() if "not used" in line]
        assert len(lines) == bool(more)
    assert "2 tensors that the model does not have are not used: mask_head.weight, mask_head.bias" in lines[0]
