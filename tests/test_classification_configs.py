"""Every shipped classification config: it resolves to its recipe, and model, optimiser, hooks and transforms build."""
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import shipped_configs
import torch
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.datasets.classification import _build
from mimtransfer.registry import HOOKS, LOOPS, METRICS, MODELS

pytestmark = pytest.mark.usefixtures("quick_weights")
ROOT = Path(__file__).parents[1] / "configs"
LEAVES = sorted(path.name for path in (ROOT / "classification").glob("*.py"))
TRAINED = [leaf for leaf in LEAVES if re.match("finetune|linear_", leaf)]
# peak lr at its batch, batch, layer decay, warm-up, final lr / peak lr; the sources are in the heads of the configs
RECIPES = {
    "finetune_mae_vit-base_100e_in1k": (2e-3, 1024, 0.65, 5, 1e-6 / 2e-3),
    "finetune_mae_vit-large_50e_in1k": (4e-3, 1024, 0.75, 5, 1e-6 / 4e-3),
    "finetune_amt_vit-base_100e_in1k": (4e-3, 1024, 0.75, 5, 5e-4),
    "finetune_amt_vit-small_100e_in1k": (4e-3, 1024, 0.75, 5, 5e-4),
    "finetune_mfm_vit-base_100e_in1k": (8e-3, 2048, 0.8, 5, 2.5e-7 / 2e-3),
    "finetune_mfm_vit-small_200e_in1k": (8e-3, 2048, 0.8, 5, 2.5e-7 / 2e-3),
    "finetune_mfm_resnet50_100e_in1k": (8e-3, 2048, 1.0, 5, 1e-6 / 8e-3),
    "finetune_mfm_resnet50_300e_in1k": (5e-3, 2048, 1.0, 5, 1e-6 / 5e-3),
    "finetune_simmim_vit-base_100e_in1k": (5e-3, 2048, 0.65, 20, 2.5e-7 / 1.25e-3),
    "finetune_simmim_swin-base_100e_in1k": (5e-3, 2048, 0.8, 20, 2.5e-7 / 1.25e-3),
    "finetune_mapet_vit-base_100e_in1k": (5e-4, 512, 0.65, 20, 1e-6 / 5e-4),
    "finetune_mapet_vit-small_200e_in1k": (5e-3, 512, 0.65, 20, 1e-6 / 5e-3),
    "finetune_mapet_vit-tiny_300e_in1k": (2.5e-4, 512, 1.0, 20, 1e-6 / 2.5e-4),
    "linear_mae_vit-base_90e_in1k": (6.4, 16384, 1.0, 10, 0.0),
}


def load(leaf):
    return shipped_configs.load(f"classification/{leaf}")


@pytest.mark.parametrize("leaf", LEAVES)
def test_resolves_and_builds(leaf):
    cfg, text = load(leaf), (ROOT / "classification" / leaf).read_text()
    assert cfg.task == "classification" and cfg.protocol and "Command" in text.split('"""')[1]
    assert read_values(cfg.pretty_text) == cfg.to_dict()  # a checkpoint holds its config as text
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    arch = re.search(r"_(vit-|swin-|resnet)(tiny|small|base|large|50)", leaf)
    assert f"{arch[1]}{arch[2]}".replace("-", "_") in model.backbone.arch
    assert "RecordHook" in [type(HOOKS.build(hook)).__name__ for hook in cfg.custom_hooks]
    METRICS.build(cfg.test_evaluator)


def test_protocols_have_names_of_their_own():
    names = [load(leaf).protocol for leaf in LEAVES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("leaf", TRAINED)
def test_trains_by_its_recipe(leaf):
    cfg, stem, head = load(leaf), Path(leaf).stem, (ROOT / "classification" / leaf).read_text().split('"""')[1]
    epochs = int(re.search(r"_(\d+)e_", leaf)[1])
    warmup, cosine = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == cosine.end == epochs and epochs % cfg.train_cfg.val_interval == 0
    assert warmup.end == cosine.begin and cosine.T_max == cosine.end - cosine.begin and "eta_min" not in cosine
    for transform in [*cfg.train_dataloader.dataset.transform, *cfg.test_dataloader.dataset.transform]:
        _build(transform)
    assert cfg.train_dataloader.sampler.type == "EpochSampler" and cfg.train_dataloader.batch_size % 2 == 0
    assert cfg.val_dataloader == cfg.test_dataloader
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert len(model.norm.state_dict()) == {None: 0, "layer": 2, "batch": 3}[cfg.model.get("norm")]
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert isinstance(cfg.model.backbone.get("final_norm", True), bool)
    trained = {id(p) for group in wrapper.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    if stem in RECIPES:
        lr, batch, decay, num_warmup, floor = RECIPES[stem]
        found = re.search(r"Batch     8 GPUs x (\d+)(?: x accumulation (\d+))? = (\d+)", head)
        accumulation = cfg.optim_wrapper.get("accumulative_counts", 1)
        assert (int(found[1]), int(found[2] or 1)) == (cfg.train_dataloader.batch_size, accumulation)
        assert int(found[3]) == batch == 8 * cfg.train_dataloader.batch_size * accumulation
        scale = batch / cfg.auto_scale_lr.base_batch_size if cfg.auto_scale_lr.enable else 1
        assert cfg.optim_wrapper.optimizer.lr * scale == pytest.approx(lr)
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
        assert warmup.end == num_warmup and cosine.eta_min_ratio == pytest.approx(floor)


def test_every_published_recipe_is_shipped():
    assert set(RECIPES) <= {Path(leaf).stem for leaf in LEAVES}


def test_layer_decay_of_the_swin():
    """Scales by SimMIM's rule: depths 2, 2, 18, 2, so that the last block is one step below the head."""
    cfg = load("finetune_simmim_swin-base_100e_in1k.py")
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    steps = {id(p): round(torch.tensor(group["lr"] / 1.25e-3).log().item() / torch.tensor(0.8).log().item())
             for group in optimizer.param_groups for p in group["params"]}
    found = {name: steps[id(p)] for name, p in model.named_parameters()}
    expected = {"head.weight": 0, "backbone.norm.bias": 0, "backbone.layers.3.blocks.1.mlp.fc1.weight": 1,
                "backbone.layers.3.downsample.reduction.weight": 3, "backbone.layers.2.blocks.17.norm1.weight": 3,
                "backbone.layers.2.blocks.0.attn.qkv.weight": 20, "backbone.layers.1.downsample.norm.weight": 23,
                "backbone.layers.0.blocks.0.attn.proj.bias": 24, "backbone.patch_embed.proj.weight": 25}
    assert {name: found[name] for name in expected} == expected


# From class folders; tests/test_frozen_configs.py has those that read archives.
FROZEN = [leaf for leaf in LEAVES if re.fullmatch(r"(knn|linear-sweep)_.*_(in1k|cifar10)(-\d+(pct|shot))?\.py", leaf)]


@pytest.mark.parametrize("leaf", FROZEN)
def test_frozen_features_are_learned_from_the_images_that_the_config_names(leaf, tmp_path, monkeypatch):
    """The loop builds from what ships; of the data only the file names are there."""
    cfg = load(leaf)
    monkeypatch.chdir(tmp_path)
    for loader in (cfg.test_cfg.memory_dataloader, cfg.test_dataloader):
        for number in range(1000):
            path = Path(loader.dataset.root, f"class{number % 10}", f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if cfg.test_cfg.memory_dataloader.dataset.get("num_images"):
        cfg.test_cfg.memory_dataloader.dataset.num_images = 100  # of 10000
    runner = SimpleNamespace(model=None, seed=0, _randomness_cfg={}, visualizer=SimpleNamespace(),
                             build_dataloader=Runner.build_dataloader)  # fmt: skip
    loop = LOOPS.build(dict(cfg.test_cfg, runner=runner, dataloader=cfg.test_dataloader,
                            evaluator=Evaluator([cfg.test_evaluator])))  # fmt: skip
    loaders = (loop.memory_dataloader, loop.dataloader)
    learned, tested = (Path(loader.dataset.source.samples[0][0]).parts[-3] for loader in loaders)
    assert learned == "train" and tested in ("val", "test")
    # A probe is not named k-NN in the table.
    assert cfg.test_evaluator.get("prefix") == ("knn" if leaf.startswith("knn") else None)
