"""--log: mmengine's backends over modules that only note what they are told; wandb and mlflow are not installed."""
import importlib
import json
import sys

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS, init_default_scope
from own_tool import call_tool
from toy_runner import toy_runner

from mimtransfer.checks.settings import check_settings
from mimtransfer.errors import UserError
from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.results.trackers import set_log
from pretrain.runner import register_all

FAKE = """
calls = []
class Config:
    def update(self, values, allow_val_change=False):
        calls.append(("config", sorted(values)))
config = Config()
class Image:
    def __init__(self, pixels):
        self.shape = pixels.shape
def __getattr__(name):
    if name.startswith("_") or name in ("join", "run"):
        raise AttributeError(name)
    def note(*args, **options):
        calls.append((name, *args, options))
        return None
    return note
"""
VARIABLES = ("WANDB_PROJECT", "WANDB_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_NAME")


@pytest.fixture(params=["wandb", "mlflow"])
def fake(request, tmp_path, monkeypatch):
    """A module of this name that notes calls."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "fakes").mkdir()
    (tmp_path / f"fakes/{request.param}.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path / "fakes")
    yield importlib.import_module(request.param)
    sys.modules.pop(request.param)


def visualizer_of(work_dir, *names, **cfg):
    cfg = Config(dict(work_dir=str(work_dir), **cfg))
    set_log(cfg, names)
    return cfg.visualizer.to_dict()


def test_a_training_is_logged(fake, tmp_path):
    name = fake.__name__
    visualizer = visualizer_of(tmp_path / "det_mae-seed0", name)
    runner = toy_runner(tmp_path / "det_mae-seed0", visualizer=visualizer)
    runner.train()
    said = {kind: [call for call in fake.calls if call[0] == kind] for kind, *_ in fake.calls}
    if name == "wandb":
        folder = str(next((tmp_path / "det_mae-seed0").glob("*/vis_data")))
        assert said["init"] == [("init", dict(project="mimtransfer", name="det_mae-seed0", dir=folder))]
        assert said["define_metric"] == [("define_metric", dict(name="*", step_metric="iter"))]
        assert "work_dir" in said["config"][0][1] and len(said["finish"]) == 1
        logged = [call[1] for call in said["log"]]
    else:
        assert ("set_tag", "mlflow.runName", "det_mae-seed0", {}) in said["set_tag"]
        assert said["set_experiment"] == [("set_experiment", "mimtransfer", {})] and len(said["end_run"]) == 1
        assert said["set_tracking_uri"][0][1].startswith("file://") and said["log_params"][0][1]["work_dir"]
        logged, steps = [call[1] for call in said["log_metrics"]], [call[2] for call in said["log_metrics"]]
        assert steps == list(range(1, 13))
    lines = [json.loads(line) for line in next(tmp_path.glob("*/*/vis_data/scalars.json")).read_text().splitlines()]
    assert [one["loss"] for one in logged] == [line["loss"] for line in lines] and len(logged) == 12
    assert [one["iter"] for one in logged] == list(range(1, 13))


def test_pictures_and_what_comes_after_the_end(fake, tmp_path):
    """An evaluation of a training that was finished logs after the run was closed."""
    init_default_scope("mmdet")
    kind = visualizer_of(tmp_path, fake.__name__)["vis_backends"][-1]
    backend = VISBACKENDS.build({**kind, "save_dir": str(tmp_path / "vis")})
    backend.add_config(Config(dict(work_dir=str(tmp_path))))
    backend.add_image("prediction_0", np.zeros((4, 6, 3), np.uint8), step=7)
    backend.close()
    backend.close()
    backend.add_scalar("top1", 3.0, step=9)
    names = [call[0] for call in fake.calls]
    ends = "finish" if fake.__name__ == "wandb" else "end_run"
    assert names.count(ends) == 1
    if fake.__name__ == "wandb":
        assert fake.calls[names.index("log")][1]["prediction_0"].shape == (4, 6, 3) and names.count("init") == 2
    else:
        assert fake.calls[names.index("log_image")][2] == "prediction_0_7.png" and names.count("set_experiment") == 2


def test_the_variables_of_the_services_count(fake, tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, variable.lower())
    settings = visualizer_of(tmp_path, fake.__name__)["vis_backends"][-1]
    if fake.__name__ == "wandb":
        assert settings["init_kwargs"] == dict(project="wandb_project", name="wandb_name")
    else:
        assert settings == dict(type="mimtransfer.MLflowVisBackend", run_name="mlflow_run_name",
                                exp_name="mlflow_experiment_name", tracking_uri="mlflow_tracking_uri")


def test_backends_of_the_config_stay(fake, tmp_path):
    name = fake.__name__
    own = dict(type=dict(wandb="WandbVisBackend", mlflow="MLflowVisBackend")[name])
    shipped = dict(type="DetLocalVisualizer", vis_backends=[dict(type="LocalVisBackend"), own], name="v")
    assert visualizer_of(tmp_path, name, name, visualizer=shipped) == shipped
    added = visualizer_of(tmp_path, "tensorboard", visualizer=shipped)
    assert added == {**shipped, "vis_backends": [*shipped["vis_backends"], dict(type="TensorboardVisBackend")]}
    assert [one["type"] for one in visualizer_of(tmp_path, "tensorboard")["vis_backends"]] == [
        "LocalVisBackend", "TensorboardVisBackend"]


@pytest.mark.parametrize("leaf", ["pretrain/mae_vit-base_800e_in1k", "detection/mask-rcnn_vit-demo_scenes"])
def test_a_shipped_config_is_checked_and_keeps_its_fingerprint(fake, tmp_path, leaf):
    cfg = Config.fromfile(f"configs/{leaf}.py")
    cfg.work_dir, before = str(tmp_path), fingerprint(protocol_config(cfg))
    init_default_scope(cfg.default_scope)
    register_all()
    set_log(cfg, [fake.__name__, "tensorboard"])
    check_settings(cfg)
    kinds = [backend["type"] for backend in cfg.visualizer.vis_backends]
    assert f"mimtransfer.{dict(wandb='W', mlflow='ML')[fake.__name__]}" in "".join(kinds) and len(kinds) == 3
    assert fingerprint(protocol_config(cfg)) == before


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_one_line(name, tmp_path):
    line = f"--log {name} needs the package {name!r}, which is not installed: pip install {name}"
    with pytest.raises(UserError, match=line):
        visualizer_of(tmp_path, name)


@pytest.mark.parametrize("tool, config", [
    ("pretrain", "configs/debug/mae_vit-debug_2e_folder.py"),
    ("train", "configs/detection/mask-rcnn_vit-demo_scenes.py"),
    ("test", "configs/classification/knn_vit-tiny-p4_cifar10.py")])
def test_the_tools_say_it_before_anything_is_read(tool, config, tmp_path, capsys):
    assert call_tool(tool, config, "--work-dir", tmp_path / "run", "--log", "wandb", "--log", "tensorboard") == 2
    assert capsys.readouterr().err.count("--log wandb needs the package 'wandb'") == 1
    assert not (tmp_path / "run").exists()
