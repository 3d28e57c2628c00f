"""Steps of tools/benchmark.py and tools/compare_time.py."""
import pytest
import torch
from mmengine.config import Config

from pretrain.benchmarks import stepper
from pretrain.benchmarks.steps import PretrainSteps

TEXT = """
model = dict(
    type="MAE",
    encoder=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
                 model_kwargs=dict(embed_dim=48, depth=1, num_heads=3)),
    decoder=dict(embed_dim=32, depth=1, num_heads=4),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1), accumulative_counts=4)
"""


@pytest.mark.parametrize("by_process", [False, True])
def test_each_step_updates_the_weights_of_a_config_that_accumulates(tmp_path, monkeypatch, by_process):
    if by_process:
        (tmp_path / "config.py").write_text(TEXT)
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
        step = stepper.build_step(str(tmp_path / "config.py"), 2, [])
        losses = [step()["loss"].item() for _ in range(3)]
    else:
        steps = PretrainSteps(Config.fromstring(TEXT, ".py"), 2, "cpu")
        losses = [steps.model.train_step(steps.data, steps.optim_wrapper)["loss"].item() for _ in range(3)]
    # The same images and masks each time: only an update changes the loss.
    assert len(set(losses)) == 3
    assert torch.tensor(losses).isfinite().all()


def test_a_config_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    optim = "optim_wrapper = dict(optimizer=dict(type='SGD', lr=1))\n"
    (tmp_path / "loss.py").write_text("model = dict(type='torch.nn.L1Loss')\n" + optim)
    with pytest.raises(SystemExit) as stopped:
        stepper.build_step(str(tmp_path / "loss.py"), 2, [])
    assert stopped.value.code == "it trains L1Loss, no method of pretraining; give a config of tools/pretrain.py"
