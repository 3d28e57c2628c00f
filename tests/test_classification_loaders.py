"""Every classification and robustness config builds the loaders and the loop that it ships; none is substituted."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from PIL import Image
from shipped_configs import leaves, load

import mimtransfer  # noqa: F401
from mimtransfer.registry import LOOPS

# Of ImageNet-A, -R and -Sketch the folders of all classes would have to be there.
LEAVES = [leaf for leaf in leaves("classification", "robustness") if "/imagenet-" not in leaf]
PER_CLASS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of two classes where the configs look for them; every picture is one file under many names."""
    folder = tmp_path_factory.mktemp("data")
    Image.new("RGB", (40, 40)).save(folder / "picture.png")
    roots = set()
    for leaf in LEAVES:
        for loader in loaders(load(leaf)):
            roots.add((loader.dataset.get("root"), loader.dataset.type))
    for root, kind in roots:
        if kind == "ClassFolder":
            for number in range(2 * PER_CLASS):
                file = folder / root / f"class_{number % 2}" / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.hardlink_to(folder / "picture.png")
    return folder


def loaders(cfg):
    """Return all loaders of a config, also that of the memory."""
    found = [cfg.get("train_dataloader"), cfg.get("test_dataloader"), cfg.get("val_dataloader")]
    return [loader for loader in [*found, cfg.test_cfg.get("memory_dataloader")] if loader]


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES
                                  if all(loader.dataset.type == "ClassFolder" for loader in loaders(load(leaf)))])
def test_loaders_and_loop_are_built_from_the_config(leaf, data, monkeypatch):
    monkeypatch.chdir(data)
    cfg = load(leaf)
    for loader in loaders(cfg):
        if "fraction" in loader.dataset:  # a hundredth of forty is none
            loader.dataset.fraction = max(0.5, loader.dataset.fraction)
        if loader.dataset.get("num_images"):
            loader.dataset.num_images = PER_CLASS  # of 80
        built = Runner.build_dataloader(loader, seed=0)
        item = built.dataset[(0, 0)] if type(built.sampler).__name__ == "EpochSampler" else built.dataset[0]
        assert isinstance(item["inputs"], torch.Tensor) and len(built) >= 0
    runner = SimpleNamespace(cfg=cfg, seed=0, model=torch.nn.Identity(), visualizer=SimpleNamespace(),
                             _randomness_cfg={}, build_dataloader=Runner.build_dataloader)
    loop = dict(cfg.test_cfg, type=cfg.test_cfg.get("type", "TestLoop"))
    loop = LOOPS.build(dict(loop, runner=runner, dataloader=cfg.test_dataloader,
                            evaluator=Evaluator([dict(cfg.test_evaluator)])))
    if "memory_dataloader" in cfg.test_cfg:
        assert 0 < len(loop.memory_dataloader.dataset) <= 2 * PER_CLASS
