"""The AP and mIoU in result.json against independent references, for predictions that are far from trivial.

The tools run as they are, with one step of training; only what the models predict is replaced by predictions made here.
"""
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from average_precision import Thing, average_precision
from own_tool import call_tool
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

ROOT = Path(__file__).parents[2]
CONFIGS = {"det": "detection/mask-rcnn_vit-demo_scenes.py", "seg": "segmentation/upernet_vit-demo_scenes.py"}
ONE_STEP = [
    "train_cfg.max_iters=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=2",
    *(f"{name}_dataloader.num_workers=0" for name in ("train", "val", "test")),
    "train_dataloader.persistent_workers=False", "val_dataloader.batch_size=4",
]  # fmt: skip
SCENES = Path("data/scenes")
VAL = SCENES / "annotations/instances_val.json"
SIZE = 150, 220
AREAS = {"_s": "_small", "_m": "_medium", "_l": "_large"}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Run tools/train.py in this process beside data/scenes of 4 + 4 pictures; return the scores of its record."""
    monkeypatch.chdir(tmp_path)
    make_scenes(tmp_path / "data/scenes", SceneSet(counts={"train": 4, "val": 4, "unlabelled": 0}), workers=1,
                progress=False)  # fmt: skip

    def run(task, *options):
        words = [ROOT / "configs" / CONFIGS[task], "--work-dir", task, "--cfg-options"]
        assert call_tool("train", *words, *ONE_STEP, *options) == 0
        metrics = json.loads(Path(task, "result.json").read_text())["metrics"]
        return {name: metric["value"] for name, metric in metrics.items()}

    return run


def ellipse(box):
    """Return the pixels of an ellipse in a box, bool of the size of the images."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    (x0, y0, x1, y1), half = box, 0.5
    return ((x - (x0 + x1) * half) / ((x1 - x0) * half)) ** 2 + ((y - (y0 + y1) * half) / ((y1 - y0) * half)) ** 2 <= 1


def run_lengths(mask):
    """Return the uncompressed RLE of COCO: column by column, zeros first."""
    flat = np.concatenate([[0], mask.T.ravel(), [0]]).astype(int)
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, mask.size]).tolist()}


def random_box(rng):
    size = rng.uniform(0.4, 1, 2) * rng.choice([[30, 30], [90, 80], [190, 140]])
    corner = rng.uniform([0, 0], [SIZE[1] - size[0], SIZE[0] - size[1]])
    return np.concatenate([corner, corner + size])


def jittered(rng, box, amount):
    moved = box + rng.normal(0, amount, 4) * np.tile(box[2:] - box[:2], 2)
    moved = np.clip(moved, 0, np.tile(SIZE[::-1], 2))
    return np.concatenate([moved[:2], np.maximum(moved[2:], moved[:2] + 4)]).astype(np.float32)


def make_truth(rng, num_images=9):
    """Return (image, class, box, crowd); the last image is empty."""
    things = [(image, rng.integers(4), random_box(rng), False) for image in range(num_images - 1)
              for _ in range(rng.integers(2, 7))]  # fmt: skip
    return things + [(image, label, np.array([100.0, 20, 210, 140]), True) for image, label in ((1, 0), (3, 2))]


def make_found(rng, truth, num_images=9):
    """Return (image, class, box, score): close and loose, double, of the wrong class, and of nothing; ties, too."""
    found = []
    for image, label, box, crowd in truth:
        for _ in range(5 if crowd else rng.choice([0, 1, 1, 1, 2])):
            box_found = jittered(rng, random_box(rng) * 0.4 + [110, 30] * 2 if crowd else box, rng.choice([0.02, 0.1]))
            wrong = rng.random() < 0.15
            found.append((image, rng.integers(5) if wrong else label, box_found, rng.uniform(0.3, 1)))
    found += [(image, rng.integers(5), jittered(rng, random_box(rng), 0), rng.uniform(0, 0.8))
              for image in range(num_images) for _ in range(3)]  # fmt: skip
    rng.shuffle(found)
    return [(*thing, np.float32(round(score, 1))) for *thing, score in found if thing[0] != 4]  # nothing in image 4


def write_coco(truth, categories, num_images=9):
    images = [dict(id=10 + k, file_name=f"{k}.png", width=SIZE[1], height=SIZE[0]) for k in range(num_images)]
    for image in images:
        Image.new("RGB", SIZE[::-1]).save(SCENES / "val" / image["file_name"])
    annotations = [
        dict(id=k, image_id=10 + image, category_id=categories[label]["id"], iscrowd=int(crowd),
             bbox=[*box[:2], *(box[2:] - box[:2])], area=int(mask.sum()), segmentation=run_lengths(mask))
        for k, (image, label, box, crowd) in enumerate(truth, start=1) for mask in [ellipse(box)]
    ]  # fmt: skip
    content = dict(images=images, annotations=annotations, categories=categories)
    VAL.write_text(json.dumps(content))


def predict_boxes(found):
    def predict(self, inputs, samples, rescale=True):
        from mmengine.structures import InstanceData

        for sample in samples:
            own = [thing for thing in found if thing[0] == sample.img_id - 10]
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(np.array([box for _, _, box, _ in own]).reshape(-1, 4)),
                labels=torch.tensor([int(label) for _, label, _, _ in own], dtype=torch.long),
                scores=torch.tensor([score for *_, score in own]),
                masks=torch.tensor(np.array([ellipse(box) for _, _, box, _ in own]).reshape(-1, *SIZE)),
            )
        return samples

    return predict


def pycocotools_scores(found, categories, kind):
    """Return the first six numbers of COCOeval at its own settings, as fractions."""
    results = []
    for image, label, box, score in found:
        box, one = box.astype(np.float64), {"image_id": 10 + image, "category_id": categories[label]["id"]}
        shape = {"bbox": [*box[:2], *(box[2:] - box[:2])]}
        if kind == "segm":
            shape = {"segmentation": encode(np.asfortranarray(ellipse(box).astype(np.uint8)))}
        results.append({**one, **shape, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(VAL)
        run = COCOeval(coco, coco.loadRes(results), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(["", "50", "75", "_s", "_m", "_l"], run.stats[:6]))


def own_scores(truth, found, kind):
    """Return the same six numbers by the reference of these tests."""
    def thing(image, label, box, crowd=False, score=0.0, area=None):
        mask = ellipse(box) if kind == "segm" else None
        box = box.astype(np.float64)
        size = (box[2:] - box[:2]).prod() if mask is None else mask.sum()
        return Thing(image, label, box if mask is None else mask, size if area is None else area, float(score), crowd)

    truth = [thing(image, label, box, crowd, area=ellipse(box).sum()) for image, label, box, crowd in truth]
    found = [thing(image, label, box, score=score) for image, label, box, score in found]
    scores = {"": average_precision(truth, found)}
    scores |= {name: average_precision(truth, found, thresholds=[int(name) / 100]) for name in ("50", "75")}
    return scores | {name: average_precision(truth, found, area=area) for name, area in AREAS.items()}


def test_average_precision(train, monkeypatch):
    from mmdet.models.detectors import TwoStageDetector

    rng = np.random.default_rng(3)
    truth = make_truth(rng)
    found = make_found(rng, truth)
    categories = json.loads(VAL.read_text())["categories"]
    write_coco(truth, categories)
    monkeypatch.setattr(TwoStageDetector, "predict", predict_boxes(found))
    recorded = {name: value / 100 for name, value in train("det").items()}
    assert len(recorded) == 12
    for kind, name in (("bbox", "box_ap"), ("segm", "mask_ap")):
        official = pycocotools_scores(found, categories, kind)
        own = own_scores(truth, found, kind)
        assert own == pytest.approx(official, abs=1e-12)
        assert {key: recorded[f"{name}{AREAS.get(key, key)}"] for key in own} == pytest.approx(own, abs=5.1e-4)
        assert 0.2 < own[""] < 0.8 and len(set(own.values())) == 6


def confusion(truth, found, num_classes):
    """Return [class, class] counts of the pixels whose true class is one."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    for true, guess in zip(truth, found):
        np.add.at(table, (true[true < num_classes], guess[true < num_classes]), 1)
    return table


@pytest.mark.parametrize("reduce_zero_label", [True, False])
def test_mean_intersection_over_union(train, monkeypatch, reduce_zero_label):
    """Class 3 is in no picture and in the predictions, class 7 in neither, 255 and a reduced 0 are no pixels."""
    from mmengine.structures import PixelData
    from mmseg.models.segmentors import EncoderDecoder

    rng = np.random.default_rng(int(reduce_zero_label))
    written, found = {}, {}
    for path in sorted((SCENES / "seg/val").iterdir()):
        blocks = rng.choice([0, 1, 2, 4, 5, 6, 8, 9, 255], (8, 8), p=[0.3, *[0.1] * 6, 0.05, 0.05])
        written[path.stem] = np.kron(blocks, np.ones((8, 8), dtype=np.uint8)).astype(np.uint8)
        guess = np.where((written[path.stem] > 9) | (rng.random((64, 64)) < 0.4),
                         rng.choice([0, 2, 3, 5, 9], (64, 64)), written[path.stem])  # fmt: skip
        found[path.stem] = guess
        if reduce_zero_label:  # on disk one more, and 0 for what is no class
            written[path.stem] = np.where(written[path.stem] == 255, rng.choice([0, 255], (64, 64)),
                                          written[path.stem] + 1).astype(np.uint8)  # fmt: skip
        Image.fromarray(written[path.stem]).save(path)

    def predict(self, inputs, samples=None):
        for sample in samples:
            name = sample.img_path.rpartition("/")[2].partition(".")[0]
            sample.pred_sem_seg = PixelData(data=torch.tensor(found[name])[None])
        return samples

    monkeypatch.setattr(EncoderDecoder, "predict", predict)
    options = [f"{loader}_dataloader.dataset.{key}={reduce_zero_label}" for loader in ("val", "test")
               for key in ("reduce_zero_label", "pipeline.2.reduce_zero_label")]  # fmt: skip
    recorded = train("seg", *options)

    truth = [label.astype(int) - 1 if reduce_zero_label else label.astype(int) for label in written.values()]
    table = confusion([np.where((label < 0) | (label > 9), 255, label) for label in truth], found.values(), 10)
    hits, true, guessed = table.diagonal(), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore"):
        reference = {"miou": np.nanmean(hits / (true + guessed - hits)), "macc": np.nanmean(hits / true),
                     "aacc": hits.sum() / table.sum()}  # fmt: skip
    assert true[3] == true[7] == guessed[7] == 0 < guessed[3] and 0 < table.sum() < 64 * 64 * len(found)
    assert recorded == pytest.approx({name: 100 * value for name, value in reference.items()}, abs=5.1e-3)
