"""Images of 2000 x 5 pixels, and those one pixel wide, in the pipelines of the shipped configs."""
import random
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from bad_data import Classes, picture
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet and mmseg
import pretrain.data  # noqa: F401
from mimtransfer.cli import launch
from mimtransfer.datasets.classification import ClassFolder
from mimtransfer.datasets.configured import leaves
from mimtransfer.registry import TRANSFORMS
from pretrain.data.decoding import StoredImage

ROOT = Path(__file__).parents[3] / "configs"
LONG, WIDE, LINE, DOT = (5, 2000), (2000, 5), (1, 200), (1, 1)  # width, height
READ: dict[str, Config] = {}


def dataset_of(leaf, split):
    if leaf not in READ:
        READ[leaf] = Config.fromfile(ROOT / leaf, import_custom_modules=False)
    launch.enter_scope(READ[leaf])
    return next(leaves(READ[leaf][f"{split}_dataloader"].dataset))


def described(folder, size, reduce_zero_label=False):
    """Write an image with its index map; return it as mmdet and mmseg describe it, with an object of its left half."""
    width, height = size
    picture(size=size).save(folder / "image.png")
    labels = np.random.RandomState(0).randint(0, 2, (height, width), dtype=np.uint8)
    Image.fromarray(labels).save(folder / "map.png")
    half = max(width // 2, 1)
    instance = dict(bbox=[0, 0, half, height], bbox_label=0, ignore_flag=0,
                    mask=[[0, 0, half, 0, half, height, 0, height]])
    return dict(img_path=str(folder / "image.png"), img_id=0, seg_map_path=str(folder / "map.png"), height=height,
                width=width, reduce_zero_label=reduce_zero_label, label_map=None, seg_fields=[], instances=[instance])


@pytest.mark.parametrize("size", [LONG, WIDE, LINE], ids=str)
@pytest.mark.parametrize("leaf, split", [
    ("detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py", "train"),  # large-scale jitter
    ("detection/mask-rcnn_vit-demo_scenes.py", "val"),
    ("detection/faster-rcnn_vit-tiny_bccd.py", "train"),  # flips after it has scaled
    ("segmentation/upernet_vit-base_160k_ade20k-512x512.py", "train"),
    ("segmentation/upernet_vit-tiny_camvid-cpu.py", "train"),
    ("segmentation/upernet_vit-demo_scenes.py", "val"),
])
def test_shipped_pipelines_show_them(leaf, split, size, tmp_path):
    """OpenCV ended the run, for a side was scaled to 0 pixels; so did torch, for numpy flips one column in place."""
    dataset = dataset_of(leaf, split)
    run = Compose(dataset.pipeline)
    zero = leaf.startswith("segmentation") and "camvid" not in leaf
    shown = []
    for seed in range(5):
        random.seed(seed)
        np.random.seed(seed)
        shown.append(run(described(tmp_path, size, zero)))
    shown = [item for item in shown if item is not None]  # None: no object is left in the crop, another is drawn
    assert all(item["inputs"].shape[0] == 3 and min(item["inputs"].shape) >= 1 for item in shown)
    assert shown
    for item in shown if leaf.startswith("segmentation") else ():
        # A map that is evaluated keeps the size of its file.
        expected = size[::-1] if split == "val" else item["inputs"].shape[1:]
        assert item["data_samples"].gt_sem_seg.data.shape[1:] == tuple(expected)


@pytest.mark.parametrize("size, scale, new", [
    ((2000, 5), (64, 64), (64, 1)), ((5, 2000), 0.05, (1, 100)), ((640, 480), (64, 64), (64, 48)),
    ((128, 1), (1024, 1024), (1024, 8)),
])
def test_a_side_is_scaled_to_a_pixel_at_least(size, scale, new):
    assert mmcv.rescale_size(size, scale) == new
    factor = scale if isinstance(scale, float) else scale[0] / max(size)
    assert mmcv.rescale_size(size, scale, return_scale=True) == (new, factor)
    pixels, told = mmcv.imrescale(np.asarray(picture(size=size)), scale, return_scale=True)
    assert pixels.shape == (*new[::-1], 3) and told == factor


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
@pytest.mark.parametrize("shape", [(4, 1, 3), (1, 4, 3), (1, 4), (3, 4, 3)], ids=str)
def test_flipped_images_are_taken_by_torch(shape, direction):
    image = np.arange(np.prod(shape)).reshape(shape)
    flipped = mmcv.imflip(image, direction)
    axes = {"horizontal": 1, "vertical": 0, "diagonal": (0, 1)}
    np.testing.assert_array_equal(flipped, np.flip(image, axes[direction]))
    assert min(flipped.strides) > 0 or not flipped.flags.c_contiguous  # what mmdet and mmseg ask before they copy


def test_mmsegs_pyramid_does_not_halve_one_row_to_nothing():
    """Narrow images of a validation ended the run after the training."""
    launch.enter_scope(Config(dict(default_scope="mmseg")))
    neck = MODELS.build(dict(type="mmseg.Feature2Pyramid", embed_dim=16, norm_cfg=dict(type="BN")))
    for shape in ((1, 7), (6, 1), (1, 1), (4, 7)):
        shapes = [tuple(y.shape[2:]) for y in neck((torch.randn(1, 16, *shape),) * 4)]
        last = (2, 3) if shape == (4, 7) else tuple((side + 1) // 2 for side in shape)
        assert shapes == [tuple(4 * side for side in shape), tuple(2 * side for side in shape), shape, last]


@pytest.mark.parametrize("split, size", [("train", LONG), ("train", WIDE), ("train", DOT), ("val", WIDE), ("val", DOT)])
def test_classifiers_show_them(split, size, tmp_path):
    transform = dataset_of("classification/finetune_mae_vit-base_100e_in1k.py", split)["transform"]
    Classes(tmp_path)
    picture(size=size).save(tmp_path / "train/ant/0.png")
    data = ClassFolder(root=str(tmp_path / "train"), transform=transform)
    for epoch in range(1 if split == "val" else 4):
        assert data[epoch, 0]["inputs"].shape == (3, 224, 224)


@pytest.mark.parametrize("size", [LONG, WIDE, DOT], ids=str)
@pytest.mark.parametrize("transform", [
    dict(type="RandomResizedCropFlip", size=32), dict(type="ResizeWhole", size=32), dict(type="CenterCrop", size=32),
], ids=lambda t: t["type"])
def test_pretraining_shows_them(transform, size):
    show = TRANSFORMS.build(transform)
    for seed in range(8):
        pixels, (y0, x0, y1, x1), _ = show(StoredImage(picture(size=size)), random.Random(seed))
        assert pixels.shape == (3, 32, 32) and 0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1
