"""Configs that train on own data: loaders, heads, evaluators, masks or none, the name of the protocol."""
from pathlib import Path

import pytest
from mmengine.registry import DATASETS
from own_sets import coco, folders, masks, voc, yolo

from mimtransfer.checks.data import data_findings
from mimtransfer.cli.launch import enter_scope, load_config
from mimtransfer.errors import UserError
from mimtransfer.own_data.boxes_only import learns_masks
from mimtransfer.own_data.configure import set_data
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.heads import set_num_classes

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Converted data of each form, by its name."""
    root = tmp_path_factory.mktemp("own")
    made = {"boxes": yolo(root / "cells"), "polygons": yolo(root / "leaves", polygons=True), "voc": voc(root / "voc"),
            "masks": masks(root / "roads"), "folders": folders(root / "birds")}
    for split in ("train", "val", "test"):
        coco(root / f"coco/{split}.json", root / f"coco/{split}")
    made["coco"] = root / "coco"
    return {name: convert(str(path), str(root / f"out_{name}")) for name, path in made.items()}


def configured(config, data):
    """Return a shipped config with own data, and the lines for the user."""
    lines = []
    cfg = load_config(str(CONFIGS / config), [], prepare=lambda cfg: lines.extend(set_data(cfg, data)))
    enter_scope(cfg)
    assert [found for found in data_findings(cfg) if found.level != "ok"] == []
    return cfg, lines


def test_a_mask_rcnn_learns_polygons(data):
    cfg, lines = configured("detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py", data["polygons"])
    roi_head = cfg.model.roi_head
    assert (roi_head.bbox_head.num_classes, roi_head.mask_head.num_classes) == (2, 2) and lines == []
    assert cfg.protocol == "ViTDet Mask R-CNN, COCO 512, 25 epochs, on leaves"
    assert cfg.val_evaluator.metric == ["bbox", "segm"] and cfg.val_evaluator.ann_file == data["polygons"].path("val")
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert train.metainfo["classes"] == ("red", "green") and len(train) == 8
    item = train[0]["data_samples"].gt_instances
    assert len(item.masks) == len(item.bboxes) == len(item.labels)


def test_without_masks_it_becomes_a_detector_of_boxes(data):
    cfg, lines = configured("detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py", data["voc"])
    assert cfg.model.type == "FasterRCNN" and not learns_masks(cfg)
    assert lines == ["The data have no masks: MaskRCNN without its mask head, a FasterRCNN; box AP is scored"]
    assert cfg.protocol.endswith(", on voc, boxes only") and cfg.val_evaluator.metric == "bbox"
    assert not {"mask_head", "mask_roi_extractor"} & set(cfg.model.roi_head)
    assert "mask_size" not in cfg.model.train_cfg.rcnn and "mask_thr_binary" not in cfg.model.test_cfg.rcnn
    assert len(DATASETS.build(cfg.train_dataloader.dataset)[0]["data_samples"].gt_instances.bboxes) <= 2


def test_every_stage_of_a_cascade_has_the_classes(data):
    cfg, _ = configured("detection/cascade-mask-rcnn_vitdet_vit-large_25e_coco.py", data["boxes"])
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [2, 2, 2]
    assert cfg.model.type == "CascadeRCNN" and all("mask_size" not in stage for stage in cfg.model.train_cfg.rcnn)


def test_weights_of_classes_get_their_length(data):
    cfg, _ = configured("detection/mask2former_vitdet_vit-base_50e_coco.py", data["polygons"])
    head = cfg.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (2, 0)
    assert head.loss_cls.class_weight == [1.0, 1.0, 0.1]
    assert (cfg.model.panoptic_fusion_head.num_things_classes, cfg.val_evaluator.metric) == (2, ["bbox", "segm"])
    cfg, _ = configured("segmentation/mask2former_vit-base_160k_ade20k-512x512.py", data["masks"])
    assert cfg.model.decode_head.num_classes == 3
    assert cfg.model.decode_head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]


def test_weights_that_differ_by_class_are_refused():
    cfg = dict(model=dict(decode_head=dict(num_classes=3, loss_decode=dict(class_weight=[1.0, 2.0, 3.0]))))
    with pytest.raises(UserError, match="weighs its 3 classes differently"):
        set_num_classes(cfg, 2)
    with pytest.raises(UserError, match="no part of the model has num_classes"):
        set_num_classes(dict(model=dict(encoder=dict(type="TimmViT"))), 2)


def test_a_given_test_split_is_tested(data):
    cfg, _ = configured("detection/retinanet_vitdet_vit-base_100e_coco.py", data["coco"])
    assert cfg.model.bbox_head.num_classes == 2 and cfg.val_evaluator.metric == "bbox"
    assert [Path(cfg[f"{split}_dataloader"].dataset.ann_file).stem for split in ("train", "val", "test")] == [
        "train", "val", "test"]
    assert Path(cfg.test_evaluator.ann_file).stem == "test"
    # Its pipeline loads masks to crop as others do; data without masks have none to load.
    assert cfg.train_dataloader.dataset.pipeline[1].with_mask
    cfg, lines = configured("detection/retinanet_vitdet_vit-base_100e_coco.py", data["boxes"])
    assert lines == [] and "with_mask" not in cfg.train_dataloader.dataset.pipeline[1]


def test_index_maps_of_any_image_names(data):
    cfg, _ = configured("segmentation/upernet_vit-base_160k_ade20k-512x512.py", data["masks"])
    assert (cfg.model.decode_head.num_classes, cfg.model.auxiliary_head.num_classes) == (3, 3)
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert train.metainfo["classes"] == ("background", "red", "green") and len(train) == 6
    labels = train[0]["data_samples"].gt_sem_seg.data
    assert set(labels.unique().tolist()) <= {0, 1, 2, 255}
    assert not any(step.get("reduce_zero_label") for step in cfg.val_dataloader.dataset.pipeline)


def test_class_folders(data):
    cfg, _ = configured("classification/finetune_mae_vit-base_100e_in1k.py", data["folders"])
    assert cfg.model.num_classes == 2 and cfg.val_evaluator.topk == (1,)
    assert cfg.train_dataloader.dataset.root.endswith("folders/train")
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == 2
    cfg, _ = configured("classification/knn_vit-base_in1k.py", data["folders"])
    assert cfg.test_cfg.memory_dataloader.dataset.root.endswith("folders/train")
    assert cfg.test_dataloader.dataset.root.endswith("folders/val")


@pytest.mark.parametrize(("config", "form", "said"), [
    ("segmentation/upernet_vit-base_160k_ade20k-512x512.py", "boxes", "are for detection, but the config is of segmen"),
    ("pretrain/mae_vit-base_800e_in1k.py", "boxes", "are for pretraining, detection, segmentation and classification"),
    ("detection/mask2former_vitdet_vit-base_50e_coco.py", "boxes", "boxes without masks, but Mask2Former learns masks"),
    ("detection/mask-rcnn_vitdet_vit-base_100e_lvis.py", "polygons", "made for the classes of LVIS"),
])
def test_what_does_not_go_together_is_refused(data, config, form, said):
    with pytest.raises(UserError) as error:
        configured(config, data[form])
    assert said in str(error.value) and "\n" not in str(error.value)
