"""One value of a COCO json is replaced by a strange one: it is refused, or the whole way to the score works."""
import contextlib
import copy
import io
import json
import random

import numpy as np
import pytest
from bad_data import Masks
from mmengine.registry import DATASETS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.checks import FAIL
from mimtransfer.checks.data import data_findings
from mimtransfer.cli import launch

STRANGE = [None, True, "", "x", "7", 0, -1, 1, 2, 0.5, 1e-9, -5.5, 1e9, 10**30, float("nan"), float("inf"), [], [[]],
           {}, [None], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [[1, 2]], [["a"] * 6], {"size": [48, 64], "counts": "x"},
           {"size": [48, 64], "counts": [3072]}, {"size": None, "counts": None}]
PIPELINE = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs")]
ROUNDS = 80


def places(node, path=()):
    """Yield the path of every value."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutate(coco, draw):
    path = draw.choice(list(places(coco)))
    node = coco
    for key in path[:-1]:
        node = node[key]
    value = draw.choice([*STRANGE, ...])
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = copy.deepcopy(value)
    return path, value


def whole(item):
    return item


def run(cfg, root):
    """Load every training image, and score the objects of the validation set as if they were found."""
    items = list(DataLoader(DATASETS.build(cfg.train_dataloader.dataset), batch_size=None, collate_fn=whole))
    boxes = np.concatenate([item["data_samples"].gt_instances.bboxes.tensor.numpy() for item in items])
    assert len(boxes) and np.isfinite(boxes).all()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(root / "val.json"))
        found = [dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=0.9,
                      segmentation=truth.annToRLE(a)) for a in truth.dataset["annotations"]]
        for kind in ("bbox", "segm"):
            score = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), kind)
            score.evaluate()
            score.accumulate()
            score.summarize()
            assert np.isfinite(score.stats[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_refused_or_sound_to_the_score(part, tmp_path):
    made = Masks(tmp_path)
    made.dataset()["pipeline"] = PIPELINE
    sound = {split: copy.deepcopy(getattr(made, split)) for split in ("train", "val")}
    draw, refused = random.Random(part), 0
    for _ in range(ROUNDS // 4):
        for split, coco in sound.items():
            setattr(made, split, copy.deepcopy(coco))
        split = draw.choice(["train", "val"])
        what = split, *mutate(getattr(made, split), draw)
        cfg = launch.load_config(made.write(), [])
        launch.enter_scope(cfg)
        found = list(data_findings(cfg))
        assert all("\n" not in finding.line for finding in found), what
        if any(finding.level == FAIL for finding in found):
            refused += 1
            continue
        try:
            run(cfg, tmp_path)
        except Exception as error:
            pytest.fail(f"{what} passes, and then: {error!r}; {[str(f) for f in found]}")
    assert 0 < refused < ROUNDS // 4
    assert json.loads((tmp_path / "val.json").read_text())
