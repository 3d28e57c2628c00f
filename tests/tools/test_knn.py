"""k-NN from pictures to the table: a short pretraining, tools/test.py, tools/table.py, and mistakes."""
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_classes import call, paint_classes
from mmengine.config import Config
from own_tool import record
from sklearn.neighbors import KNeighborsClassifier

from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.evaluation.probing.features import FrozenFeatures
from mimtransfer.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
ENCODER = "arch='vit_tiny_patch16_224', patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)"
KNN = f"""
_base_ = [{str(ROOT / "configs/classification/knn_vit-tiny-p4_cifar10.py")!r}]
protocol = 'k-NN, colours'
model = dict(backbone=dict({ENCODER}))
loader = dict(batch_size=5, num_workers=0)
test_cfg = dict(k=4, memory_dataloader=dict(dataset=dict(root='images/train', num_images=18), **loader))
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
"""
PRETRAIN = f"""
_base_ = [{str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook', label='MAE, colours')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, a config of k-NN, and the work dir `mae` of a pretraining."""
    folder = tmp_path_factory.mktemp("knn")
    paint_classes(folder, CLASSES, 60)
    (folder / "knn.py").write_text(KNN)
    (folder / "pretrain.py").write_text(PRETRAIN)
    call(folder, "pretrain", "pretrain.py", "--work-dir", "mae")
    return folder


def by_hand(folder, checkpoint):
    """Return top-1 accuracy in points from single images, timm's tokens and scikit-learn."""
    cfg = Config.fromfile(folder / "knn.py")
    backbone = MODELS.build(dict(cfg.model.backbone, type="mimtransfer.TimmViT")).eval()
    load_backbone(backbone, checkpoint)
    mean, std = (torch.tensor(cfg.model.data_preprocessor[key]).view(3, 1, 1) for key in ("mean", "std"))
    sets = []
    for loader in (cfg.test_cfg.memory_dataloader, cfg.test_dataloader):
        config = dict(loader.dataset, type="mimtransfer.ClassFolder", root=str(folder / loader.dataset.root))
        items = list(DATASETS.build(config))
        with torch.no_grad():
            features = [backbone(((item["inputs"] - mean) / std)[None])[-1].mean((2, 3))[0].double() for item in items]
        sets.append((torch.stack(features).numpy(), [item["label"] for item in items]))
    reference = KNeighborsClassifier(4, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    return 100 * reference.fit(*sets[0]).score(*sets[1])


def test_from_a_pretraining_to_the_table(folder, capsys):
    call(folder, "test", "knn.py", "--pretrained", "mae", "--work-dir", "knn/mae", "--out", "votes.pkl")
    call(folder, "test", "knn.py", "--work-dir", "knn/random", "--seed", 3)
    result, random = record(folder / "knn/mae"), record(folder / "knn/random")
    assert (result["kind"], result["task"], result["mode"]) == ("transfer", "classification", "test")
    assert (result["label"], result["method"], result["dataset"]) == ("MAE, colours", "MAE", "ClassFolder train")
    assert result["init"]["pretraining"]["run_id"] == record(folder / "mae")["run_id"]
    assert result["init"]["missing"] == 0 and result["init"]["matched"] > 20
    assert result["protocol"]["name"] == "k-NN, colours" and set(result["data_fingerprint"]) == {"train", "eval"}
    config = result["protocol"]["config"]
    assert config["eval_cfg.k"] == 4 and config["eval_cfg.temperature"] == 0.07
    assert config["eval_cfg.memory_dataloader.dataset.num_images"] == 18
    assert not [key for key in config if "batch_size" in key or "root" in key or "init_cfg" in key]
    expected = by_hand(folder, folder / "mae/epoch_1.pth")
    assert 100 / 3 < expected < 100
    assert result["metrics"] == {"knn_top1": {"value": pytest.approx(expected, abs=1e-6), "unit": "points"}}

    assert (random["label"], random["init"], random["seed"]) == ("random init", {"kind": "random"}, 3)
    assert random["protocol"]["fingerprint"] == result["protocol"]["fingerprint"]
    capsys.readouterr()
    call(folder, "table", "knn", "mae")
    lines = capsys.readouterr().out.splitlines()
    assert "k-NN top-1" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["random init", "MAE, colours"]
    assert f"{expected:.1f}" in lines[3]

    # A repetition replaces the record, and a test never replaces that of a training.
    call(folder, "test", "knn.py", "--pretrained", "mae", "--work-dir", "knn/mae", "--amp")
    again = record(folder / "knn/mae")
    assert again["run_id"] != result["run_id"] and again["protocol"]["config"]["eval_cfg.amp"] is True
    before = record(folder / "mae")
    call(folder, "test", "knn.py", "--pretrained", "mae/epoch_1.pth", "--work-dir", "mae")
    assert record(folder / "mae") == before and len(list(folder.glob("mae/*/result.json"))) == 1


def test_features_that_are_not_finite_get_no_record(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(FrozenFeatures, "forward", lambda self, inputs, *args, **kwargs: inputs.flatten(1) / 0)
    with pytest.raises(SystemExit) as stopped:
        call(folder, "test", "knn.py", "--work-dir", tmp_path)
    assert stopped.value.code == 2 and "KNNLoop: the scores of test images are not finite" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(("args", "message"), [
    (["knn.py", "--pretrained", "mea"], "mea"),
    (["knn.py", "--pretrained", "mae/epoch_2.pth"], "did you mean 'epoch_1.pth'"),
    (["knn.py", "mae/epoch_1.pth"], "this config trains nothing"),
    (["knn.py", "--pretrained", "mae", "--cfg-options", "model.backbone.model_kwargs.embed_dim=24"], "mae/epoch_1.pth"),
    (["knn.py", "--cfg-options", "test_cfg.memory_dataloader.dataset.root=images/tran"], "did you mean 'train'"),
    (["knn.py", "--cfg-options", "test_dataloader.dataset.root=images/odd"],
     "the test data have 2 classes, the memory 3, expected the same; not in both: red"),
    (["knn.py", "--cfg-options", "test_cfg.k=19"], "got k=19 and a memory of 18 images"),
    (["knn.py", "--cfg-options", "test_cfg.temprature=1"], "did you mean 'temperature'"),
    ([str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py")], "this config is that of a training"),
])
def test_mistakes_give_one_line(args, message, folder, tmp_path, capsys):
    for name in ("blue", "green"):
        shutil.copytree(folder / "images/test" / name, folder / "images/odd" / name, dirs_exist_ok=True)
    with pytest.raises(SystemExit) as stopped:
        call(folder, "test", *args, "--work-dir", tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "result.json").exists()
