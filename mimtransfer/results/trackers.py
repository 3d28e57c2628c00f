"""Send what a run logs to where a team looks: W&B, MLflow, TensorBoard, by mmengine's backends (`--log`).

Departures from mmengine's classes, each for what fails with current versions of the services:

- W&B: closed by `finish` (`join` is going); curves against iterations, not against calls; the code in the working
  directory is not uploaded, since the record names the commit.
- MLflow: pictures get an ending, without which it refuses them (mmengine issue 1681).
- Both can be used again after they were closed, as when a finished training is evaluated.

Nothing here changes a run: fingerprints and records leave the visualizer out.
"""
from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.visualization import vis_backend

from mimtransfer.errors import UserError
from mimtransfer.registry import VISBACKENDS

_PROJECT = "mimtransfer"
# option -> class, package
_TRACKERS = {"wandb": ("WandbVisBackend", "wandb"), "mlflow": ("MLflowVisBackend", "mlflow"),
             "tensorboard": ("TensorboardVisBackend", "tensorboard")}


def set_log(cfg: Config, names: Iterable[str]) -> None:
    """Add backends to the config's visualizer; one that it has already stays as it is.

    Project, server and mode are those of the service's own variables, e.g. `WANDB_PROJECT`, `WANDB_MODE=offline`,
    `MLFLOW_TRACKING_URI`. A run is called after its work dir.

    Args:
        cfg: with its `work_dir`.
        names: of `wandb`, `mlflow`, `tensorboard`.

    Raises:
        UserError: the package of one is not installed.
    """
    for name in dict.fromkeys(names):
        kind, package = _TRACKERS[name]
        if find_spec(package) is None:
            raise UserError(f"--log {name} needs the package {package!r}, which is not installed: "
                            f"pip install {package}")
        visualizer = dict(cfg.get("visualizer") or dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]))
        backends = list(visualizer.get("vis_backends") or [])
        if not any(str(backend.get("type")).rpartition(".")[2] == kind for backend in backends):
            run = os.environ.get("WANDB_NAME") if name == "wandb" else os.environ.get("MLFLOW_RUN_NAME")
            backends.append(_settings(name, run or Path(cfg.work_dir).resolve().name))
        cfg.visualizer = {**visualizer, "vis_backends": backends}


def _settings(name: str, run: str) -> dict[str, Any]:
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        return dict(type="mimtransfer.WandbVisBackend", init_kwargs=dict(project=project, name=run))
    if name == "mlflow":
        return dict(type="mimtransfer.MLflowVisBackend", run_name=run,
                    exp_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
                    tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"))
    return dict(type="TensorboardVisBackend")


@VISBACKENDS.register_module()
class WandbVisBackend(vis_backend.WandbVisBackend):
    """mmengine's backend of Weights & Biases; see the module."""

    def __init__(self, save_dir: str, define_metric_cfg: dict | list | None = None, **options: Any) -> None:
        super().__init__(save_dir, define_metric_cfg=define_metric_cfg or [dict(name="*", step_metric="iter")],
                         **options)

    @vis_backend.force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Keep the config with the run."""
        self._wandb.config.update(config.to_dict(), allow_val_change=True)

    def close(self) -> None:
        """End the run; what is logged afterwards begins another of the same name."""
        if getattr(self, "_env_initialized", False):
            self._wandb.finish()
        self._env_initialized = False


@VISBACKENDS.register_module()
class MLflowVisBackend(vis_backend.MLflowVisBackend):
    """mmengine's backend of MLflow; see the module."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Keep a picture [H, W, 3] as a PNG file of this step."""
        super().add_image(f"{name}_{step}.png", image, step, **kwargs)

    def close(self) -> None:
        """Keep logs, records and config files, and end the run; what is logged afterwards begins another."""
        if getattr(self, "_env_initialized", False):
            super().close()
        self._env_initialized = False
