"""Fine-tuning and linear probing from pictures to the table, through the tools."""
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_classes import call, paint_classes
from mmengine.config import Config
from own_tool import record

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
BACKBONE = "backbone=dict(patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))"
DATA = """
train_dataloader = dict(batch_size=6, num_workers=0, persistent_workers=False, dataset=dict(root='images/train'%s))
val_dataloader = dict(batch_size=5, num_workers=0, dataset=dict(root='images/test'))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=1, eta_min_ratio=0.0, begin=1, end=2, by_epoch=True,
         convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=2, val_interval=2)
"""
CONFIGS = {
    "pretrain": f"""
_base_ = [{str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook', label='MAE, colours')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
train_cfg = dict(max_epochs=1)
""",
    "finetune": f"""
_base_ = [{str(ROOT / "configs/classification/finetune_vit-tiny-p4_100e_cifar10.py")!r}]
protocol = 'fine-tuning, colours'
model = dict({BACKBONE}, num_classes=3, head_std=0.02)
custom_hooks = [dict(type='SeedHook'), dict(type='EMAHook', momentum=0.2), dict(type='RecordHook')]
optim_wrapper = dict(optimizer=dict(lr=5e-3))
auto_scale_lr = dict(enable=False)
{DATA % ""}""",
    "linear": f"""
_base_ = [{str(ROOT / "configs/classification/linear_vit-tiny-p4_90e_cifar10.py")!r}]
protocol = 'linear probe, colours'
model = dict({BACKBONE}, num_classes=3)
optim_wrapper = dict(optimizer=dict(lr=5.0))
{DATA % ", images_per_class=4"}""",
    "sweep": f"""
_base_ = [{str(ROOT / "configs/classification/linear-sweep_vit-tiny-p4_cifar10.py")!r}]
protocol = 'linear probes, colours'
model = dict({BACKBONE})
loader = dict(batch_size=5, num_workers=0)
test_cfg = dict(memory_dataloader=dict(dataset=dict(root='images/train', num_images=None), **loader), batch_size=8,
                lrs=(1e-6, 10.0), weight_decays=(0.0, 0.01), optimizer=dict(_delete_=True, type='SGD', momentum=0.9),
                epochs=60, warmup_epochs=1, held_out=0.25)
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, the configs, a pretraining in `mae` and a fine-tuning of it in `finetuned`."""
    folder = tmp_path_factory.mktemp("classification")
    paint_classes(folder, CLASSES, 25)
    for name, text in CONFIGS.items():
        (folder / f"{name}.py").write_text(text)
    call(folder, "pretrain", "pretrain.py", "--work-dir", "mae")
    call(folder, "train", "finetune.py", "--pretrained", "mae", "--work-dir", "finetuned")
    return folder


def top1(folder, name, checkpoint):
    """Return the accuracy in points of a checkpoint on single test images, without the Runner."""
    cfg = Config.fromfile(folder / f"{name}.py")
    cfg.model.backbone.type = f"mimtransfer.{cfg.model.backbone.type}"
    preprocessor = cfg.model.pop("data_preprocessor")
    model = MODELS.build(dict(cfg.model, type="mimtransfer.Classifier")).eval()
    model.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    mean, std = (torch.tensor(preprocessor[key]).view(3, 1, 1) for key in ("mean", "std"))
    items = list(DATASETS.build(dict(type="mimtransfer.ClassFolder", root=str(folder / "images/test"))))
    with torch.no_grad():
        right = [model(((item["inputs"] - mean) / std)[None]).argmax().item() == item["label"] for item in items]
    return 100 * np.mean(right)


def test_fine_tuning_to_the_table(folder, capsys):
    result = record(folder / "finetuned")
    assert (result["kind"], result["task"], result["mode"]) == ("transfer", "classification", "train")
    assert (result["label"], result["method"]) == ("MAE, colours", "MAE")
    assert result["init"]["pretraining"]["run_id"] == record(folder / "mae")["run_id"]
    assert result["init"]["missing"] == 0 and result["init"]["unexpected"] > 0  # the norm, which moved behind the mean
    assert set(result["data_fingerprint"]) == {"train", "eval"} and result["schedule"] == {"epochs": 2, "iters": 8}
    assert result["reading"] == {"source": "folder", "decoder": "pillow"}
    checkpoint = folder / "finetuned/epoch_2.pth"
    expected = top1(folder, "finetune", checkpoint)  # of the averaged weights, which the checkpoint's state_dict holds
    assert result["metrics"] == {"top1": {"value": pytest.approx(expected, abs=1e-6), "unit": "points"}}
    stored = read_checkpoint(checkpoint)
    averaged, last = stored["state_dict"]["head.weight"], stored["ema_state_dict"]["module.head.weight"]
    assert not torch.equal(averaged, last)

    call(folder, "train", "finetune.py", "--work-dir", "random", "--seed", 1)
    call(folder, "test", "finetune.py", checkpoint, "--out", "predictions.pkl")
    tested = record(folder / "finetuned")
    assert tested["metrics"] == result["metrics"] and tested["evaluated"]["on"] == "test"
    assert tested["protocol"]["fingerprint"] == record(folder / "random")["protocol"]["fingerprint"]
    capsys.readouterr()
    call(folder, "table", "finetuned", "random", "mae")
    lines = capsys.readouterr().out.splitlines()
    assert "top-1" in lines[0]
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["random init", "MAE, colours"]
    assert f"{expected:.1f}" in lines[3]


def test_a_resumed_fine_tuning_ends_with_the_same_bits(folder):
    """With workers, from the first epoch: augmentation, erasing, mixing, drop path and averaging are the same."""
    call(folder, "train", "finetune.py", "--pretrained", "mae", "--work-dir", "resumed", "--resume",
         "finetuned/epoch_1.pth", "--cfg-options", "train_dataloader.num_workers=1")
    ends = [read_checkpoint(folder / name / "epoch_2.pth") for name in ("finetuned", "resumed")]
    for key in ("state_dict", "ema_state_dict"):
        for name, value in ends[0][key].items():
            assert torch.equal(value, ends[1][key][name]), name
    assert record(folder / "resumed")["run_id"] == record(folder / "finetuned")["run_id"]


def test_a_compiled_run_goes_on_from_an_eager_one(folder, monkeypatch):
    """Averaging, decay by layer, drop path and mixing are the same; names are, or the resume had failed."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda part, **options: compile(part, **{**options, "backend": "aot_eager"}))
    monkeypatch.setenv("CXX", "true")  # is no compiler, but there
    call(folder, "train", "finetune.py", "--pretrained", "mae", "--work-dir", "compiled", "--compile", "--resume",
         "finetuned/epoch_1.pth")
    eager, compiled = (read_checkpoint(folder / name / "epoch_2.pth") for name in ("finetuned", "compiled"))
    for key in ("state_dict", "ema_state_dict"):
        assert list(compiled[key]) == list(eager[key])
        torch.testing.assert_close(compiled[key], eager[key], rtol=1e-3, atol=1e-5)
    records = [record(folder / name) for name in ("finetuned", "compiled")]
    assert [r["cost"]["compiled"] for r in records] == [[], ["Classifier.features: inductor"]]
    assert records[0]["protocol"] == records[1]["protocol"] and records[0]["metrics"] == records[1]["metrics"]


def test_linear_probe(folder):
    call(folder, "train", "linear.py", "--pretrained", "mae", "--work-dir", "probed", "--amp")
    result, end = record(folder / "probed"), read_checkpoint(folder / "probed/epoch_2.pth")
    assert result["metrics"]["top1"]["value"] == pytest.approx(top1(folder, "linear", folder / "probed/epoch_2.pth"))
    encoder = read_checkpoint(folder / "mae/epoch_1.pth")["state_dict"]
    for name, value in end["state_dict"].items():
        if name.startswith("backbone."):
            assert torch.equal(value, encoder[name.replace("backbone.", "encoder.")]), name
    assert end["state_dict"]["head.bias"].abs().min() > 0 and end["state_dict"]["norm.num_batches_tracked"] == 4
    trained = [len(group["params"]) for group in end["optimizer"]["param_groups"]]
    assert trained == [1, 1]  # the head's weight and bias


def test_sweep_of_linear_probes(folder, capsys):
    call(folder, "test", "sweep.py", "--pretrained", "mae", "--work-dir", "swept", "--seed", 3)
    result, again = record(folder / "swept"), folder / "again"
    assert result["mode"] == "test" and result["protocol"]["name"] == "linear probes, colours"
    assert result["raw_metrics"]["lr"] == 10.0 and result["raw_metrics"]["weight_decay"] in (0.0, 0.01)
    assert result["raw_metrics"]["held_out_top1"] == pytest.approx(100 * round(result["raw_metrics"]["held_out_top1"]
                                                                               * 6 / 100) / 6)
    assert set(result["metrics"]) == {"top1"} and result["metrics"]["top1"]["value"] > 50
    call(folder, "test", "sweep.py", "--pretrained", "mae", "--work-dir", again, "--seed", 3)
    assert record(again)["raw_metrics"] == result["raw_metrics"]


@pytest.mark.parametrize(("tool", "args", "message"), [
    ("train", ["finetune.py", "--cfg-options", "model.num_classes=4"], "3 classes, but model.num_classes is 4"),
    ("train", ["finetune.py", "--cfg-options", "val_dataloader.dataset.root=images/odd"], "not in both: pink, red"),
    ("train", ["finetune.py", "--cfg-options", "train_dataloader.batch_size=64"],
     "24 images, less than one batch of 64: give --batch 24, or fewer,"),
    ("train", ["finetune.py", "--cfg-options", "train_dataloader.batch_size=3"], "even size, got 3"),
    ("train", ["finetune.py", "--pretrained", "mae", "--cfg-options", "model.backbone.model_kwargs.depth=3"],
     "mae/epoch_1"),
    ("test", ["finetune.py", "mae/epoch_1.pth"], "it is a pretraining checkpoint"),
    ("test", ["sweep.py", "--cfg-options", "test_cfg.lrs=[]"], "expected one or more each"),
    ("test", ["sweep.py", "--cfg-options", "test_cfg.held_out=0.0"], "leaves 0 to choose by"),
])
def test_mistakes_give_one_line(tool, args, message, folder, tmp_path, capsys):
    for name, place in (("blue", "blue"), ("green", "green"), ("red", "pink")):
        shutil.copytree(folder / "images/test" / name, folder / "images/odd" / place, dirs_exist_ok=True)
    with pytest.raises(SystemExit) as stopped:
        call(folder, tool, *args, "--work-dir", tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1 and message in lines[0]
