"""tools/test.py --save-predictions, then tools/compare_scores.py: end to end on scenes, and what it refuses."""
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detections import evaluated
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from own_tool import call_tool
from pycocotools.mask import decode

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

ROOT = Path(__file__).parents[2]
CONFIGS = {"det": ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py",
           "seg": ROOT / "configs/segmentation/upernet_vit-demo_scenes.py"}  # fmt: skip
VAL = "data/scenes/annotations/instances_val.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with data/scenes of 8 pictures, and the checkpoints det.pth and seg.pth."""
    out = tmp_path_factory.mktemp("compare_scores")
    make_scenes(out / "data/scenes", SceneSet(counts={"train": 1, "val": 8, "unlabelled": 0}), workers=1,
                progress=False)  # fmt: skip
    for name, path in CONFIGS.items():
        cfg = Config.fromfile(path)
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), out / f"{name}.pth")
    return out


@pytest.fixture
def place(folder, monkeypatch):
    """Enter the working directory."""
    monkeypatch.chdir(folder)
    return folder


def words_of_test(task, work_dir):
    return [CONFIGS[task], f"{task}.pth", "--work-dir", work_dir, "--save-predictions", "--cfg-options",
            "test_dataloader.num_workers=0", "custom_hooks.1.num_images=1"]  # fmt: skip


def run_test(task, work_dir):
    assert call_tool("test", *words_of_test(task, work_dir)) == 0
    metrics = json.loads(next(Path(work_dir).rglob("result.json")).read_text())["metrics"]
    return {name: metric["value"] for name, metric in metrics.items()}


def compare(*words):
    """Return what the tool writes with --out."""
    assert call_tool("compare_scores", *words, "--out", "compared.json") == 0
    return json.loads(Path("compared.json").read_text())


def noisy_objects(seed, noise):
    """Return what takes the place of a detector's prediction: the objects, moved, with scores of their own."""
    def predict(self, inputs, samples, rescale=True):
        from mmengine.structures import InstanceData

        coco = json.loads(Path(VAL).read_text())
        for sample in samples:
            rng = np.random.default_rng([seed, sample.img_id])
            own = [one for one in coco["annotations"] if one["image_id"] == sample.img_id]
            boxes = np.array([one["bbox"] for one in own]).reshape(-1, 4) + rng.normal(0, noise, (len(own), 4))
            boxes = np.maximum(boxes, [0, 0, 2, 2])
            boxes[:, 2:] += boxes[:, :2]
            masks = [np.roll(decode(one["segmentation"]), rng.integers(0, 3), axis=1) for one in own]
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32),
                labels=torch.tensor([one["category_id"] - 1 for one in own], dtype=torch.long),
                scores=torch.tensor(rng.uniform(0.3, 1, len(own)), dtype=torch.float32),
                masks=torch.tensor(np.array(masks).reshape(-1, *sample.ori_shape), dtype=torch.bool),
            )
        return samples

    return predict


def test_detections_from_two_tests_to_a_difference(place, monkeypatch, capsys):
    from mmdet.models.detectors import TwoStageDetector

    recorded = {}
    for name, seed, noise in (("det_a", 0, 3.0), ("det_b", 1, 1.0)):
        monkeypatch.setattr(TwoStageDetector, "predict", noisy_objects(seed, noise))
        recorded[name] = run_test("det", name)
    capsys.readouterr()
    found = compare("det_a", "det_b", "--resamples", 200, "--classes")
    said = capsys.readouterr().out
    assert {key: found[key] for key in ("first", "second", "images", "resamples", "seed", "level")} == dict(
        first="det_a", second="det_b", images=8, resamples=200, seed=0, level=0.95)  # fmt: skip
    coco = json.loads(Path(VAL).read_text())
    for side, name in (("first", "det_a"), ("second", "det_b")):
        values = {metric: entry[side]["value"] for metric, entry in found["metrics"].items()}
        assert {key: value for key, value in values.items() if value is not None} == pytest.approx(
            recorded[name], abs=0.051)  # mmdet has three digits
        for kind, metric in (("bbox", "box_ap"), ("segm", "mask_ap")):
            run = evaluated(coco, json.loads(Path(name, f"predictions.{kind}.json").read_text()), kind)
            assert values[metric] == 100 * run.stats[0] and 0 < values[metric] < 100
    entry = found["metrics"]["box_ap"]
    assert entry["difference"]["value"] == entry["second"]["value"] - entry["first"]["value"] > 10
    assert 0 < entry["difference"]["low"] < entry["difference"]["value"] < entry["difference"]["high"]
    assert entry["difference"]["p"] == pytest.approx(2 / 201)
    assert set(found["classes"]) == {"box_ap", "mask_ap"} and set(found["classes"]["box_ap"]) == {
        "two", "four", "disc", "triangle", "cross"}  # fmt: skip
    assert "A: det_a\nB: det_b\n" in said and "200 resamples of 8 images, seed 0; difference: B - A" in said
    (line,) = [line for line in said.splitlines() if line.startswith("box AP  ")]
    assert f"  {entry['first']['value']:.4f} [" in line and " p = 0.01" in line and "\n  two " in said

    swapped = compare("det_b", "det_a", "--resamples", 200)["metrics"]["box_ap"]["difference"]
    assert swapped["low"] == pytest.approx(-entry["difference"]["high"]) and swapped["p"] == entry["difference"]["p"]
    same = compare("det_a", "det_a", "--resamples", 20)["metrics"]["box_ap"]["difference"]
    assert same == dict(value=0, low=0, high=0, p=1)
    assert list(compare("det_a", "--resamples", 20)["metrics"]["box_ap"]) == ["first"]
    # The same files without their work dir, as other codebases write them: boxes and masks in one.
    words = ["det_a/predictions.segm.json", "det_b/predictions.segm.json", "--ann-file", VAL, "--resamples", 200]
    assert compare(*words)["metrics"] == found["metrics"]

    capsys.readouterr()
    Path("det_b/predictions.segm.json").unlink()
    assert list(compare("det_a", "det_b", "--resamples", 5)["classes"]) == ["box_ap"]
    changed = Path("changed.json")
    changed.write_text(json.dumps({**coco, "images": coco["images"][::-1]}))
    assert call_tool("compare_scores", "det_a", "det_b", "--ann-file", changed) == 2
    assert "det_a was tested on another annotation file than changed.json" in capsys.readouterr().err


def test_index_maps_from_two_tests_to_a_difference(place, monkeypatch, capsys):
    from mmengine.structures import PixelData
    from mmseg.models.segmentors import EncoderDecoder

    def predictor(share):
        def predict(self, inputs, samples=None):
            for sample in samples:
                rng = np.random.default_rng(len(sample.img_path) + int(Path(sample.img_path).stem))
                true = sample.gt_sem_seg.data[0].numpy()
                guess = np.where((true > 9) | (rng.random(true.shape) < share), rng.integers(0, 9, true.shape), true)
                sample.pred_sem_seg = PixelData(data=torch.tensor(guess)[None])
            return samples

        return predict

    recorded = {}
    for name, share in (("seg_a", 0.5), ("seg_b", 0.45)):
        monkeypatch.setattr(EncoderDecoder, "predict", predictor(share))
        recorded[name] = run_test("seg", name)
    found = compare("seg_a", "seg_b", "--resamples", 100)
    for side, name in (("first", "seg_a"), ("second", "seg_b")):
        values = {metric: entry[side]["value"] for metric, entry in found["metrics"].items()}
        assert values == pytest.approx(recorded[name], abs=0.0051)  # mmseg rounds to two digits
    difference = found["metrics"]["miou"]["difference"]
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    assert difference["p"] == pytest.approx(2 / 101)
    said = json.loads(Path("seg_a/predictions.areas.json").read_text())
    assert said["images"] == [f"{k:06}.jpg" for k in range(8)]

    capsys.readouterr()
    shutil.copytree("seg_b", "seg_c")
    said["true"][3][0] += 1
    Path("seg_c/predictions.areas.json").write_text(json.dumps(said))
    assert call_tool("compare_scores", "seg_a", "seg_c") == 2
    assert "were tested on other labels: 1 images have other pixels" in capsys.readouterr().err
    said["images"][3] = "other.png"
    Path("seg_c/predictions.areas.json").write_text(json.dumps(said))
    assert call_tool("compare_scores", "seg_a", "seg_c") == 2
    assert "have other images (the first of 2 that only one has is" in capsys.readouterr().err
    Path("seg_c/predictions.areas.json").unlink()
    assert call_tool("compare_scores", "seg_a", "seg_c") == 2
    assert "no such file, the test has not come to its end; write it again by tools/test.py" in capsys.readouterr().err
    assert call_tool("compare_scores", "seg_a", "seg_a/predictions.areas.json") == 2
    assert "compare two of a kind" in capsys.readouterr().err
    assert call_tool("compare_scores", "seg_a", "seg_x") == 2
    assert "error: seg_x: no such file or folder; did you mean 'seg_" in capsys.readouterr().err


def test_a_test_of_a_part_of_the_images_saves_no_predictions(place, capsys):
    assert call_tool("test", *words_of_test("det", "det_part"), "test_dataloader.dataset.indices=4") == 2
    assert f"4 images are tested, {VAL} lists 8" in capsys.readouterr().err
    assert not list(Path("det_part").glob("predictions*"))


def test_boxes_of_another_codebase_need_no_masks_in_the_annotations(place, tmp_path):
    coco = json.loads(Path(VAL).read_text())
    for one in coco["annotations"]:
        del one["segmentation"]
    boxes = [{**{key: one[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
             for one in coco["annotations"]]  # fmt: skip
    for name, content in (("boxes", coco), ("found", boxes), ("none", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    words = [tmp_path / "none.json", "--ann-file", tmp_path / "boxes.json", "--resamples", 5]
    metrics = compare(tmp_path / "found.json", *words)["metrics"]
    assert metrics["box_ap"]["first"]["value"] == pytest.approx(100) and metrics["box_ap"]["second"]["value"] == 0
    assert [name for name in compare(*words)["metrics"] if not name.startswith("box_ap")] == []
