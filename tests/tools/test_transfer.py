"""tools/train.py and tools/test.py on eight scenes, end to end, and their answers to bad input."""
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from own_tool import call_tool, record
from PIL import Image

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.registry import MODELS

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
SEG = str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py")
SHORT = [
    "train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2",
    "train_dataloader.batch_size=2", "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
    "val_dataloader.batch_size=4", "val_dataloader.num_workers=0", "test_dataloader.batch_size=4",
    "test_dataloader.num_workers=0",
]
NUM_VAL = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with data/scenes and a pretrained ViT in a checkpoint."""
    out = tmp_path_factory.mktemp("transfer")
    counts = {"train": 4, "val": NUM_VAL, "unlabelled": 0}
    make_scenes(out / "data/scenes", SceneSet(counts=counts), workers=1, progress=False)
    torch.manual_seed(0)
    encoder = MODELS.build(Config.fromfile(DET).vit.to_dict())
    state = {f"encoder.{name}": value + 0.01 for name, value in encoder.state_dict().items()}
    (out / "mae").mkdir()
    torch.save(dict(state_dict=state, meta={}), out / "mae/epoch_3.pth")
    (out / "mae/last_checkpoint").write_text("/elsewhere/mae/epoch_3.pth")
    return out


@pytest.fixture
def call(folder, monkeypatch):
    """Run a tool's main() in this process, in the working directory."""
    monkeypatch.chdir(folder)

    def run(tool, *args):
        status = call_tool(tool, *args)
        if status:
            raise SystemExit(status)

    return run


def metric(result, name):
    return result["metrics"][name]["value"]


def log_of(work_dir):
    return "\n".join(path.read_text() for path in Path(work_dir).glob("*/*.log"))


def test_detection_from_pretrained_then_resume_then_test(call):
    call("train", DET, "--work-dir", "det", "--pretrained", "mae", "--seed", 3, "--amp", "--cfg-options", *SHORT)
    result, log = record("det"), log_of("det")
    assert result["task"] == "detection" and result["seed"] == 3 and result["protocol"]["name"] == "Mask R-CNN, scenes"
    assert result["init"]["path"].endswith("epoch_3.pth") and len(result["init"]["sha256"]) == 64
    assert {"box_ap", "mask_ap"} <= set(result["metrics"])
    areas = [entry["area"] for entry in json.loads(Path("data/scenes/annotations/instances_val.json").read_text())[
        "annotations"]]
    small = [score["objects"] for name, score in result["metrics"].items() if name.endswith("_ap_small")]
    assert set(small) == {sum(area <= 32**2 for area in areas)} and "objects" not in result["metrics"]["box_ap"]
    assert "lr groups:" in log and "Bf16OptimWrapper" in log and "Backbone: mae/epoch_3.pth" in log
    pretrained = read_checkpoint("mae/epoch_3.pth")["state_dict"]["encoder.blocks.0.attn.qkv.weight"]
    trained = read_checkpoint("det/iter_2.pth")["state_dict"]["backbone.blocks.0.attn.qkv.weight"]
    assert 0 < (trained - pretrained).abs().max() < 5e-3  # two small steps away from what was loaded

    longer = [option.replace("train_cfg.max_iters=2", "train_cfg.max_iters=4") for option in SHORT]
    call("train", DET, "--work-dir", "det", "--pretrained", "mae", "--seed", 3, "--amp", "--resume",
         "--cfg-options", *longer)
    assert record("det")["run_id"] == result["run_id"] and record("det")["schedule"]["iters"] == 4
    assert Path("det/iter_4.pth").is_file() and "resumed epoch: 0, iter: 2" in log_of("det")

    trained = record("det")
    call("test", DET, "det/iter_4.pth", "--amp", "--out", "predictions.pkl", "--cfg-options", *longer)
    tested = record("det")
    assert tested["run_id"] == trained["run_id"]
    assert tested["protocol"]["config"] == trained["protocol"]["config"]
    assert metric(tested, "box_ap") == pytest.approx(metric(trained, "box_ap"), abs=1e-9)
    predictions = pickle.loads(Path("predictions.pkl").read_bytes())
    assert len(predictions) == NUM_VAL and "pred_instances" in predictions[0]


def test_segmentation_from_random(call):
    call("train", SEG, "--work-dir", "seg", "--cfg-options", *SHORT)
    result = record("seg")
    assert result["task"] == "segmentation" and result["init"]["kind"] == "random" and result["label"] == "random init"
    assert 0 <= metric(result, "miou") <= 100
    assert "Backbone: random initialisation" in log_of("seg")
    call("test", SEG, "seg/iter_2.pth", "--cfg-options", *SHORT)
    assert metric(record("seg"), "miou") == pytest.approx(metric(result, "miou"), abs=1e-6)

    # As if the run had been killed after its last checkpoint, before the end of its evaluation.
    Path("seg/result.json").unlink()
    call("train", SEG, "--work-dir", "seg", "--resume", "--cfg-options", *SHORT)
    assert metric(record("seg"), "miou") == pytest.approx(metric(result, "miou"), abs=1e-6)
    assert record("seg")["run_id"] == result["run_id"]


TTA = f"""
_base_ = {SEG!r}
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[
        [dict(type="Resize", scale_factor=r, keep_ratio=True) for r in (1.0, 1.5)],
        [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)],
        [dict(type="LoadAnnotations", reduce_zero_label=True)],
        [dict(type="PackSegInputs")],
    ]),
]
"""


def test_segmentation_with_augmentation_at_test_time(call, capsys):
    """The merged map is the argmax of the mean softmax over sizes and flips; its row is no row of the plain test."""
    Path("tta.py").write_text(TTA)
    call("train", "tta.py", "--work-dir", "tta", "--cfg-options", *SHORT)
    plain = record("tta")
    call("test", "tta.py", "tta/iter_2.pth", "--tta", "--out", "tta.pkl", "--cfg-options", *SHORT)
    assert record("tta") == plain
    (path,) = Path("tta").glob("*/result.json")
    tested = json.loads(path.read_text())
    assert tested["protocol"]["name"] == plain["protocol"]["name"] + ", TTA"
    assert tested["protocol"]["fingerprint"] != plain["protocol"]["fingerprint"]
    assert tested["run_id"] == plain["run_id"] and 0 <= metric(tested, "miou") <= 100

    cfg = Config.fromfile("tta.py")
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(read_checkpoint("tta/iter_2.pth")["state_dict"])
    prediction = pickle.loads(Path("tta.pkl").read_bytes())[0]
    picture = torch.from_numpy(np.asarray(Image.open(prediction["img_path"]))[..., ::-1].copy()).movedim(-1, 0)
    total = 0
    for size in (64, 96):
        resized = mmcv.imresize(picture.movedim(0, -1).numpy(), (size, size))
        for flip in (False, True):
            view = torch.from_numpy(resized).movedim(-1, 0)
            inputs = [view.flip(-1) if flip else view]
            with torch.no_grad():
                data = model.data_preprocessor(dict(inputs=inputs), False)
                meta = dict(ori_shape=(64, 64), img_shape=(size, size), pad_shape=(size, size))
                logits = model.inference(data["inputs"], [dict(meta, flip=False)])
            logits = torch.nn.functional.interpolate(logits.flip(-1) if flip else logits, (64, 64), mode="bilinear")
            total = total + logits.softmax(1)
    assert (total.argmax(1) == prediction["pred_sem_seg"]["data"]).float().mean() > 0.99  # equal but for ties

    with pytest.raises(SystemExit):
        call("test", SEG, "tta/iter_2.pth", "--tta", "--cfg-options", *SHORT)
    assert "--tta: the config has no tta_pipeline; those on ADE20K" in capsys.readouterr().err


def test_mmdets_own_tool(folder):
    """A fresh process that knows of us only through `custom_imports`, with whatever mmcv is installed."""
    tool = Path(importlib.util.find_spec("mmdet").origin).parent / ".mim/tools/train.py"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = [option.replace("=2", "=1") if "train_cfg" in option else option for option in SHORT]
    command = [sys.executable, str(tool), DET, "--work-dir", "own", "--cfg-options", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert record(folder / "own")["task"] == "detection" and "lr groups:" in log_of(folder / "own")


def break_json(root, change):
    path = root / "annotations/instances_train.json"
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))


BROKEN = {
    "no root": (DET, lambda root: shutil.rmtree(root), "folder 'broken/' does not exist"),
    "no json": (DET, lambda root: (root / "annotations/instances_train.json").unlink(), "does not exist"),
    "no images": (DET, lambda root: [p.unlink() for p in list((root / "train").iterdir())[1:]],
                  "lists 4 images but 3 of them are not in 'broken/train/', the first is '00000"),
    "empty json": (DET, lambda root: break_json(root, lambda c: c.update(annotations=[])),
                   "lists 4 images and 0 annotations"),
    "text json": (DET, lambda root: (root / "annotations/instances_train.json").write_text("x"), "is no COCO json"),
    "categories": (DET, lambda root: break_json(root, lambda c: c["categories"][0].update(name="cat")),
                   "has no category 'two' but 'cat', 'four'"),
    "no maps": (SEG, lambda root: (root / "seg/train/000002.png").unlink(),
                "1 of 4 images have no index map in 'broken/seg/train', the first missing is '000002.png'"),
    "no map folder": (SEG, lambda root: shutil.rmtree(root / "seg/val"), "folder 'broken/seg/val' does not exist"),
    "colour map": (SEG, lambda root: shutil.copy(root / "train/000000.jpg", root / "seg/train/000000.png"),
                   "has shape (64, 64, 3), expected one class index per pixel"),
}


def line_of(call, capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        call(*args)
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data(case, call, folder, capsys):
    config, damage, message = BROKEN[case]
    root = folder / "broken"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder / "data/scenes", root)
    damage(root)
    options = [f"{split}_dataloader.dataset.data_root=broken/" for split in ("train", "val", "test")]
    if config == DET:
        options += [f"{split}_evaluator.ann_file=broken/annotations/instances_val.json" for split in ("val", "test")]
    line = line_of(call, capsys, "train", config, "--work-dir", "never", "--cfg-options", *options)
    assert message in line
    assert not (folder / "never").exists()


@pytest.mark.parametrize("args, message", [
    (["train", DET, "--cfg-options", "optim_wraper.optimizer.lr=1"], "did you mean 'optim_wrapper'"),
    (["train", DET, "--cfg-options", "max_iters"], "got 'max_iters', expected KEY=VALUE"),
    (["train", DET, "--pretrained", "notes.txt"], "text file"),
    (["train", DET, "--pretrained", "mae/epoch_4.pth"], "did you mean 'epoch_3.pth'"),
    (["train", DET, "--resume", "nowhere.pth"], "--resume nowhere.pth: no such file"),
    (["train", DET, "--cfg-options", "model.backbone.type=ResNet", "--pretrained", "mae/epoch_3.pth"],
     "model.backbone (ResNet) takes no key 'arch'"),
    (["train", SEG, "--cfg-options", "model.decode_head.num_classes=7"],
     "10 classes, but model.decode_head.num_classes is 7"),
    (["train", DET, "--cfg-options", "val_evaluator.ann_file=other.json"], "make them equal"),
    (["test", DET, "mae/epoch_3.pth"], "it is a pretraining checkpoint: run tools/train.py CONFIG --pretrained mae"),
    (["test", DET, "mae/epoch_3.pth", "--out", "predictions.txt"], "ends in .pkl"),
    (["train", DET.replace("rcnn_vit", "rcn_vit")], "did you mean 'mask-rcnn_vit-demo_scenes.py'"),
])
def test_bad_arguments(args, message, call, folder, capsys):
    (folder / "notes.txt").write_text("not a checkpoint\n" * 20)
    assert message in line_of(call, capsys, *args)


@pytest.mark.parametrize("args, status, said", [
    (["train", "--help"], 0, "usage:"),
    (["test", "--help"], 0, "usage:"),
    (["train", DET, "--pretrained", "nowhere/x.pth"], 2, "checkpoint 'nowhere/x.pth': no such file; the folder"),
    (["test", DET, "nowhere/x.pth"], 2, "checkpoint 'nowhere/x.pth': no such file; the folder"),
    (["predict", DET, "nowhere/x.pth", "."], 2, "checkpoint 'nowhere/x.pth': no such file; the folder"),
])
def test_answers_before_anything_heavy_is_imported(args, status, said):
    code = (
        "import runpy, sys\n"
        f"sys.argv = {args!r}\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'tools' / args[0])!r} + '.py', run_name='__main__')\n"
        "except SystemExit as done:\n"
        f"    assert done.code == {status}, done.code\n"
        "print('heavy:', sorted({'torch', 'mmengine', 'timm', 'numpy'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said in ended.stdout + ended.stderr and "heavy: []" in ended.stdout
