"""Robustness of a fine-tuned and of a linear-probed classifier, through the tools, to the table."""
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_classes import call, paint_classes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_tool import record

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli.launch import check_checkpoint
from mimtransfer.datasets.classification import _build
from mimtransfer.evaluation.robustness.common_corruptions import Corruptions
from mimtransfer.registry import DATASETS, LOOPS, METRICS, MODELS

ROOT = Path(__file__).resolve().parents[2]
LEAVES = sorted((ROOT / "configs/robustness").glob("*.py"))
CLASSES = {"blue": (90, 100, 130), "green": (95, 130, 95), "red": (130, 100, 95)}
CONFIG = """
_base_ = [{base!r}]
protocol = {name!r}
model = dict(backbone=dict(patch_size=8, model_kwargs=dict(embed_dim=24, depth=1, num_heads=3)), num_classes=3)
train_dataloader = dict(batch_size=6, num_workers=0, persistent_workers=False,
                        dataset=dict(root='images/train', num_images=None))
val_dataloader = dict(batch_size=5, num_workers=0, dataset=dict(root='images/test'))
test_dataloader = dict(batch_size=5, num_workers=0, dataset=dict(root='images/test', num_images=None))
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr={lr}))
auto_scale_lr = dict(enable=False)
param_scheduler = [dict(type='ConstantLR', factor=1.0, begin=0, end=1)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, a fine-tuning in `finetuned`, a linear probe in `probed`, and their configs."""
    folder = tmp_path_factory.mktemp("robustness")
    paint_classes(folder, CLASSES, 12, test=4)
    shipped = ROOT / "configs"
    for name, base, lr in (
        ("finetune", "classification/finetune_vit-tiny-p4_5e_cifar10", 5e-3),
        ("linear", "classification/linear_vit-tiny-p4_90e_cifar10", 1.0),
        ("corruptions", "robustness/corruptions_finetune_vit-tiny-p4_5e_cifar10", 5e-3),
        ("attacks", "robustness/attacks_finetune_vit-tiny-p4_5e_cifar10", 5e-3),
        ("linear_corruptions", "robustness/corruptions_linear_vit-tiny-p4_90e_cifar10", 1.0),
    ):
        text = CONFIG.format(base=str(shipped / f"{base}.py"), name=f"{name}, colours", lr=lr)
        (folder / f"{name}.py").write_text(text)
    call(folder, "train", "finetune.py", "--work-dir", "finetuned", "--seed", 3)
    return folder


def classifier(folder, name, checkpoint):
    """Return a function from images [B, 3, H, W] to scores, without the Runner."""
    cfg = Config.fromfile(folder / f"{name}.py")
    cfg.model.backbone.type = f"mimtransfer.{cfg.model.backbone.type}"
    preprocessor = cfg.model.pop("data_preprocessor")
    model = MODELS.build(dict(cfg.model, type="mimtransfer.Classifier")).eval()
    model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    mean, std = (torch.tensor(preprocessor[key]).view(3, 1, 1) for key in ("mean", "std"))
    return lambda images: model((images - mean) / std)


def shown_images(folder):
    """Return test images [12, 3, 32, 32] uint8 and their labels."""
    data = DATASETS.build(dict(type="mimtransfer.ClassFolder", root=str(folder / "images/test")))
    return torch.stack([item["inputs"] for item in data]), torch.tensor([item["label"] for item in data])


def test_corruptions_to_the_table(folder, capsys):
    call(folder, "test", "corruptions.py", "finetuned/epoch_2.pth", "--work-dir", "finetuned/corruptions", "--out",
         "p.pkl")
    trained, result = record(folder / "finetuned"), record(folder / "finetuned/corruptions")
    assert trained["protocol"]["name"] == "finetune, colours" and set(trained["metrics"]) == {"top1"}
    assert (result["run_id"], result["seed"], result["label"]) == (trained["run_id"], 3, "random init")
    assert (result["task"], result["evaluated"]["on"]) == ("classification", "test")
    images, labels = shown_images(folder)
    scores, corrupt = classifier(folder, "finetune", folder / "finetuned/epoch_2.pth"), Corruptions()
    raw = result["raw_metrics"]
    with torch.no_grad():
        for name, severity in (("fog", 3), ("gaussian_noise", 5), ("jpeg_compression", 1)):
            wrong = 100 * float((scores(corrupt(images, name, severity)).argmax(1) != labels).float().mean())
            assert raw[f"error/{name}/{severity}"] == pytest.approx(wrong)
    every = [raw[key] for key in raw if key.count("/") == 2]
    assert 0 < np.mean(every) < 67 and np.std(every) > 3  # it has learned something, and corruptions harm it
    assert len(every) == 75 and result["metrics"]["corruption_error"]["value"] == pytest.approx(np.mean(every))
    assert result["metrics"]["clean_top1"]["value"] == pytest.approx(trained["metrics"]["top1"]["value"])
    assert set(result["metrics"]) == {"clean_top1", "corruption_error"}
    assert (folder / "p.pkl").is_file()
    capsys.readouterr()
    call(folder, "table", "finetuned")
    heading, _, row = capsys.readouterr().out.splitlines()[:3]
    assert "top-1" in heading and "clean top-1" in heading and "corruption error" in heading
    assert f"{np.mean(every):.1f}" in row


def test_the_record_of_one_classifier_as_baseline_of_another(folder):
    call(folder, "train", "linear.py", "--work-dir", "probed")
    options = ["--cfg-options", "test_cfg.severities=[1,5]", "test_cfg.corruptions=[fog,contrast]"]
    call(folder, "test", "linear_corruptions.py", "probed/epoch_2.pth", "--work-dir", "probed/base", *options)
    base = record(folder / "probed/base")["raw_metrics"]
    call(folder, "test", "linear_corruptions.py", "probed/epoch_2.pth", *options,
         "test_cfg.baseline=probed/base/result.json")
    assert set(record(folder / "probed")["metrics"]) == {"top1"}  # of the training, as it was
    (path,) = (folder / "probed").glob("2*/result.json")
    again = record(path.parent)
    assert again["metrics"]["mce"]["value"] == pytest.approx(100)  # the same classifier
    fog, clean = again["protocol"]["config"]["eval_cfg.baseline.fog"], 100 - base["clean_top1"]
    assert fog == pytest.approx((base["error/fog/1"] + base["error/fog/5"]) / 2)
    assert again["protocol"]["config"]["eval_cfg.baseline.clean"] == pytest.approx(clean)


def test_a_model_wrapped_for_several_processes_is_checked_by_its_own_names(folder):
    cfg = Config.fromfile(folder / "finetune.py")
    init_default_scope(cfg.default_scope)
    model = torch.nn.DataParallel(MODELS.build(cfg.model))
    assert next(iter(model.state_dict())).startswith("module.")
    check_checkpoint(model, str(folder / "finetuned/epoch_2.pth"))


def test_attacks(folder):
    call(folder, "test", "attacks.py", "finetuned/epoch_2.pth", "--work-dir", "attacked", "--cfg-options",
         "test_cfg.epsilon=4", "test_cfg.step_size=2")
    metrics = {name: metric["value"] for name, metric in record(folder / "attacked")["metrics"].items()}
    assert set(metrics) == {"clean_top1", "fgsm_top1", "pgd_top1"}
    images, labels = shown_images(folder)
    scores, x = classifier(folder, "finetune", folder / "finetuned/epoch_2.pth"), images.float().requires_grad_()
    torch.nn.functional.cross_entropy(scores(x), labels).backward()
    found = scores((x + 4 * x.grad.sign()).clamp(0, 255)).argmax(1)
    assert metrics["fgsm_top1"] == pytest.approx(100 * float((found == labels).float().mean()))
    assert metrics["pgd_top1"] <= metrics["fgsm_top1"] < metrics["clean_top1"]


@pytest.mark.parametrize(("config", "option", "message"), [
    ("corruptions.py", "test_cfg.corruptions=[fogg]", "no corruption 'fogg'; did you mean 'fog'"),
    ("corruptions.py", "test_cfg.severities=[0]", "severities of 1 to 5"),
    ("corruptions.py", "test_cfg.baseline=nothing.json", "nothing.json: no such file"),
    ("corruptions.py", "test_dataloader.dataset.trained_classes=[red,green]", "2 classes, but model.num_classes is 3"),
    ("attacks.py", "test_cfg.epsilon=0", "expected positive numbers"),
])
def test_mistakes_give_one_line(folder, tmp_path, capsys, config, option, message):
    with pytest.raises(SystemExit) as stopped:
        call(folder, "test", config, "finetuned/epoch_2.pth", "--work-dir", tmp_path, "--cfg-options", option)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1 and message in lines[0]


def test_shipped_configs():
    names = []
    for path in LEAVES:
        cfg, text = Config.fromfile(path), path.read_text().split('"""')[1]
        init_default_scope(cfg.default_scope)
        trained = Config.fromfile(ROOT / "configs/classification" / f"{path.stem.partition('_')[2]}.py")
        assert "Command" in text and cfg.model == trained.model and cfg.train_dataloader == trained.train_dataloader
        assert cfg.test_dataloader.dataset.type == "ClassFolder" and cfg.test_evaluator.type == "TopAccuracy"
        METRICS.build(cfg.test_evaluator)
        assert (cfg.test_cfg.get("type") in (None, "TestLoop")) == ("imagenet-" in path.stem)
        if "imagenet-" not in path.stem:
            assert LOOPS.get(cfg.test_cfg.type).__name__ == cfg.test_cfg.type
        for transform in cfg.test_dataloader.dataset.transform:
            _build(transform)
        names += [cfg.protocol, trained.protocol]
    assert len(LEAVES) == 8 and len({*names}) == len(LEAVES) + 3
