"""`--image-size`, `--batch`, `--epochs`, `--quick`: what follows in shipped configs, number by number."""
import argparse
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, PARAM_SCHEDULERS
from own_sets import folders, yolo
from PIL import Image

import pretrain.data  # noqa: F401
from mimtransfer.cli.launch import load_config
from mimtransfer.errors import UserError
from mimtransfer.own_data.image_size import image_size_of, set_image_size
from mimtransfer.own_data.length import set_epochs
from mimtransfer.own_data.options import OwnOptions
from mimtransfer.training.rescale import rescale_schedule

CONFIGS = Path(__file__).parents[3] / "configs"


def read(config):
    return load_config(str(CONFIGS / config), [], as_shipped=True)


def prepared(config, work_dir, cfg_options=(), **options):
    """Return a config as the options of a tool leave it, and the config as shipped."""
    path = str(CONFIGS / config)
    given = dict(data=None, quick=False, image_size=None, num_classes=None, batch=None, epochs=None, pretrained=None,
                 resume=None)
    args = argparse.Namespace(config=path, work_dir=str(work_dir), **(given | options))
    shipped = load_config(path, [], as_shipped=True)
    own = OwnOptions.of(args, shipped, 1)
    return load_config(path, list(cfg_options), prepare=own.apply), shipped, own


def test_a_detector_of_another_size():
    cfg = read("detection/mask-rcnn_vitdet_vit-base_100e_coco.py")
    set_image_size(cfg, 640)
    steps = {step["type"]: step for step in cfg.train_dataloader.dataset.pipeline}
    assert tuple(steps["RandomResize"]["scale"]) == tuple(steps["RandomCrop"]["crop_size"]) == (640, 640)
    assert tuple(steps["RandomResize"]["ratio_range"]) == (0.1, 2.0)
    assert [tuple(step["scale"]) for step in cfg.val_dataloader.dataset.pipeline if "scale" in step] == [(640, 640)]
    assert cfg.model.data_preprocessor.pad_size_divisor == cfg.model.backbone.rel_pos_size == 640
    assert cfg.model.backbone.img_size == 224  # of the pretraining's positions
    assert image_size_of(cfg) == 640


def test_a_segmentor_of_another_size_keeps_its_ratios():
    cfg = read("segmentation/upernet_vit-base_160k_ade20k-512x512.py")
    set_image_size(cfg, 256)
    steps = {step["type"]: step for step in cfg.train_dataloader.dataset.pipeline}
    assert tuple(steps["RandomResize"]["scale"]) == (1024, 256)
    assert tuple(steps["RandomCrop"]["crop_size"]) == (256, 256)
    assert steps["RandomCrop"]["cat_max_ratio"] == 0.75
    assert tuple(cfg.model.data_preprocessor["size"]) == (256, 256) and cfg.model.backbone.img_size == 256
    assert tuple(cfg.model.test_cfg.crop_size) == (256, 256) and tuple(cfg.model.test_cfg.stride) == (170, 170)
    cfg = read("segmentation/upernet_vit-base_80k_cityscapes-512x1024.py")
    set_image_size(cfg, 512)
    assert tuple(cfg.model.test_cfg.crop_size) == (256, 512)


def test_the_size_of_a_detr_is_that_of_its_last_resizing():
    cfg = read("detection/dino_vitdet_vit-base_12e_coco.py")
    assert image_size_of(cfg) == 1333  # not 4200, to which images are enlarged before a crop
    set_image_size(cfg, 640)
    whole, cropped = cfg.train_dataloader.dataset.pipeline[3].transforms
    assert image_size_of(cfg) == 640
    for last in (whole[-1], cropped[-1]):
        assert last.scales[-1] == (round(800 * 640 / 1333), 640)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (640, 384)


def test_pretraining_and_classification_of_another_size():
    cfg = read("pretrain/mae_phases_vit-base_800e_in1k.py")
    set_image_size(cfg, 112)
    assert cfg.model.encoder.img_size == cfg.train_dataloader.dataset.transform.size == 112
    assert cfg.train_dataloader.dataset.transform.scale == (0.2, 1.0)
    assert [phase.image_size for phase in cfg.custom_hooks[-1].phases] == [64, 80, 112]
    cfg = read("classification/finetune_mae_vit-base_100e_in1k.py")
    set_image_size(cfg, 448)
    assert cfg.train_dataloader.dataset.transform[0].input_size == cfg.model.backbone.img_size == 448
    assert [step["size"] for step in cfg.val_dataloader.dataset.transform] == [512, 448]


@pytest.mark.parametrize(("config", "size", "said"), [
    ("detection/mask-rcnn_vitdet_vit-base_100e_coco.py", 100, "a multiple of 32, at least 64, e.g. 96"),
    ("detection/mask-rcnn_vitdet_vit-base_100e_coco.py", 32, "a multiple of 32, at least 64, e.g. 64"),
    ("pretrain/mae_vit-base_800e_in1k.py", 100, "a multiple of 16"),
    ("pretrain/simmim_vit-base_800e_in1k.py", 112, "a multiple of 32"),
    ("classification/finetune_mae_vit-base_100e_in1k.py", -16, "a multiple of 16"),
])
def test_sizes_that_do_not_fit_are_refused(config, size, said):
    with pytest.raises(UserError, match=said):
        set_image_size(read(config), size)


def test_epochs_of_a_schedule_in_epochs():
    shipped = read("pretrain/mae_amt_vit-base_400e_in1k.py")
    cfg = read("pretrain/mae_amt_vit-base_400e_in1k.py")
    set_epochs(cfg, shipped, 100, None, 1)
    warmup, cosine = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, warmup.end, cosine.begin, cosine.end, cosine.T_max) == (100, 10, 10, 100, 90)
    assert (cfg.custom_hooks[-1].begin, cfg.custom_hooks[-1].interval) == (10, 10)
    cfg = read("pretrain/simmim_vit-base_800e_in1k.py")
    set_epochs(cfg, cfg.copy(), 8, None, 1)
    assert cfg.param_scheduler[-1].milestones == [7] and cfg.param_scheduler[0].end == 1
    set_epochs(cfg, cfg.copy(), 1, None, 1)  # no room for a warm-up
    assert len(cfg.param_scheduler) == 1 and cfg.train_cfg.max_epochs == 1


@pytest.mark.parametrize(("config", "before", "images"), [
    ("pretrain/mae_vit-base_800e_in1k.py", 400, None),
    ("detection/mask-rcnn_vitdet_vit-base_100e_coco.py", 92188, 1000),
])
def test_the_first_checkpoint_comes_as_early(config, before, images):
    cfg = read(config)
    cfg.default_hooks.checkpoint.save_begin = before  # half of the run
    set_epochs(cfg, read(config), 16, images, 1)
    assert cfg.default_hooks.checkpoint.save_begin == (8 if images is None else 125)


def test_epochs_of_a_schedule_in_iterations_are_counted_in_the_recipes_batch(tmp_path):
    config = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    cfg, shipped = read(config), read(config)
    set_epochs(cfg, shipped, 16, 1000, 1)
    warmup, steps = cfg.param_scheduler
    assert (cfg.train_cfg.max_iters, warmup.end) == (250, 13)  # 16 x 1000 / 64; a twentieth at least
    assert (steps.milestones, steps.end) == ([222, 241], 250)
    assert cfg.train_cfg.val_interval == 27 and cfg.train_cfg.dynamic_intervals == [(244, 250)]
    cfg.train_dataloader.batch_size = 16  # the rule of the recipe does the rest
    rescale_schedule(cfg, shipped, 1)
    assert cfg.train_cfg.max_iters == 1000 and cfg.param_scheduler[1].milestones == [888, 964]
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=64)
    with pytest.raises(UserError, match="nothing says how many images an epoch has"):
        set_epochs(cfg, shipped, 16, None, 1)
    with pytest.raises(UserError, match="this config trains nothing"):
        set_epochs(read("classification/knn_vit-base_in1k.py"), shipped, 1, 10, 1)


def test_own_data_are_seen_as_often_as_the_recipes(tmp_path):
    source = str(yolo(tmp_path / "set", train=64, val=1, polygons=True))
    config = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    cfg, _, own = prepared(config, tmp_path / "work", data=source, batch=8)
    assert cfg.train_cfg.max_iters == round(184375 * 64 / 117266) == 101 and cfg.train_dataloader.batch_size == 8
    assert any("101 iterations of 64 images" in line for line in own.lines)
    assert cfg.protocol == "ViTDet Mask R-CNN, COCO, 100 epochs, on set"
    recipe = own.recipe(cfg)
    assert recipe.train_dataloader.batch_size == 4 and recipe.train_cfg.max_iters == 101
    cfg, shipped, _ = prepared(config, tmp_path / "work", data=source, epochs=32, image_size=512)
    assert cfg.train_cfg.max_iters == 32 and cfg.protocol.endswith("on set, 512 pixels, 32 epochs")
    rescale_schedule(cfg, shipped, 1)
    assert cfg.train_cfg.max_iters == 32 * 64 // 4


def test_options_of_keys_have_the_last_word(tmp_path):
    cfg, _, _ = prepared("pretrain/mae_vit-base_800e_in1k.py", tmp_path, ["train_cfg.max_epochs=7"], epochs=5, batch=2)
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (7, 2)


def test_without_an_option_nothing_changes(tmp_path):
    cfg, shipped, own = prepared("detection/mask-rcnn_vitdet_vit-base_100e_coco.py", tmp_path)
    assert cfg.to_dict() == shipped.to_dict() and own.lines == []
    own.report(cfg)
    assert list(tmp_path.iterdir()) == []


QUICK = [
    ("detection/mask-rcnn_vitdet_vit-large_100e_coco.py", 256),
    ("detection/mask-rcnn_mae_vit-base_25e_coco.py", 256),
    ("detection/dino_vitdet_vit-base_12e_coco.py", 256),
    ("segmentation/upernet_vit-large_160k_ade20k-512x512.py", 224),
    ("segmentation/linear_vit-base-4-blocks_40k_ade20k-512x512.py", 224),
    ("classification/finetune_mae_vit-base_100e_in1k.py", 128),
    ("classification/finetune_vit-tiny-p4_5e_cifar10.py", 32),
    ("pretrain/mae_vit-large_800e_in1k.py", 128),
    ("pretrain/mae_amt_vit-base_400e_in1k.py", 128),
    ("pretrain/simmim_swin-base_800e_in1k-192.py", 128),
    ("pretrain/ijepa_vit-base_600e_in1k.py", 128),
    ("pretrain/data2vec2_vit-base_75e_in1k.py", 128),
]


@pytest.mark.parametrize(("config", "size"), QUICK)
def test_a_quick_look_is_small(tmp_path, config, size):
    cfg, _, _ = prepared(config, tmp_path, quick=True)
    backbone = cfg.model.get("backbone") or cfg.model.encoder
    assert "tiny" in backbone.arch and image_size_of(cfg) == size
    assert cfg.train_cfg.get("max_iters", 0) <= 100 and cfg.train_cfg.get("max_epochs", 0) <= 3
    assert cfg.train_dataloader.batch_size <= 16 and cfg.train_dataloader.num_workers == 0
    assert "persistent_workers" not in cfg.train_dataloader and not cfg.auto_scale_lr.get("enable")
    assert "768" not in str(cfg.model.get("neck")) and "1024" not in str(cfg.model.get("neck"))
    assert cfg.protocol.endswith(f"quick look, {size} pixels")
    assert max(step["end"] for step in cfg.param_scheduler) == cfg.train_cfg.get("max_iters", 3)


@pytest.mark.parametrize("config", ["classification/finetune_mae_vit-base_100e_in1k.py",
                                    "pretrain/mae_vit-base_800e_in1k.py"])
def test_a_quick_look_at_few_images_has_small_batches(tmp_path, config):
    """16 would be no batch. What is asked for stays as it is."""
    folders(tmp_path / "set", 11 if "finetune" in config else 5)
    cfg, _, _ = prepared(config, tmp_path / "work", data=str(tmp_path / "set"), quick=True)
    images = len(DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_="mimtransfer")))
    assert 4 <= images < 16 and images // cfg.train_dataloader.batch_size in (2, 3)  # one: warm-up has no end
    assert "mixup" not in cfg.model or cfg.train_dataloader.batch_size % 2 == 0
    cfg, _, _ = prepared(config, tmp_path / "work", data=str(tmp_path / "set"), quick=True, batch=32)
    assert cfg.train_dataloader.batch_size == 32


def test_a_quick_look_is_at_some_of_the_images(tmp_path, monkeypatch):
    """The tool enters the scope of the config later, and yet its data sets are found."""
    monkeypatch.setattr("mimtransfer.own_data.quick._IMAGES", 20)
    folders(tmp_path / "set", 60)
    for config in ("classification/finetune_mae_vit-base_100e_in1k.py", "pretrain/mae_vit-base_800e_in1k.py"):
        cfg, _, _ = prepared(config, tmp_path / config, data=str(tmp_path / "set"), quick=True)
        assert len(DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_="mimtransfer"))) == 20


def test_a_quick_look_follows_no_recipe(tmp_path):
    """Its lr and its 100 iterations are its own, at any batch and on any number of processes."""
    config = "detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py"
    cfg, shipped, own = prepared(config, tmp_path, quick=True, batch=8)
    assert cfg.train_dataloader.batch_size == 8 and cfg.optim_wrapper.optimizer.lr == 5e-4
    assert not cfg.auto_scale_lr.enable and own.recipe(shipped) is None
    _, shipped, own = prepared(config, tmp_path, batch=8)
    assert own.recipe(shipped) is not None


@pytest.mark.parametrize(("width", "arch"), [(768, "vit_base_patch16_224"), (192, "vit_tiny_patch16_224")])
def test_a_checkpoint_of_another_width_keeps_its_backbone(tmp_path, width, arch):
    path = tmp_path / "encoder.pth"
    torch.save({"state_dict": {"encoder.patch_embed.proj.weight": torch.zeros(width, 3, 16, 16)}}, path)
    config = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    cfg, _, _ = prepared(config, tmp_path, quick=True, pretrained=str(path))
    assert (cfg.model.backbone.arch, cfg.model.neck.in_channels) == (arch, width)
    assert cfg.model.neck.out_channels == cfg.model.rpn_head.in_channels == 64


def test_blocks_of_a_deeper_vit_become_those_of_vit_ti(tmp_path):
    cfg, _, _ = prepared("detection/mask-rcnn_vitdet_vit-huge_100e_coco.py", tmp_path, quick=True)
    assert tuple(cfg.model.backbone.global_blocks) == (2, 5, 8, 11) and cfg.model.neck.in_channels == 192
    cfg, _, _ = prepared("segmentation/upernet_vit-large_160k_ade20k-512x512.py", tmp_path, quick=True)
    assert tuple(cfg.model.backbone.out_indices) == (3, 5, 7, 11) and cfg.model.decode_head.in_channels == [192] * 4


@pytest.mark.parametrize(("images", "batch", "iters"), [(1000, 64, 16), (100, 64, 2), (1000, 256, 4), (64, 64, 1)])
def test_the_shortest_runs_reach_the_lr_of_the_recipe(images, batch, iters):
    config = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    cfg, shipped = read(config), read(config)
    set_epochs(cfg, shipped, 1, images, 1)
    cfg.train_dataloader.batch_size = batch
    rescale_schedule(cfg, shipped, 1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [PARAM_SCHEDULERS.build(step, default_args=dict(optimizer=optimizer)) for step in cfg.param_scheduler]
    rates = []
    for _ in range(cfg.train_cfg.max_iters):
        rates.append(optimizer.param_groups[0]["lr"])
        for scheduler in schedulers:
            scheduler.step()
    assert len(rates) == iters and max(rates) == pytest.approx(1.0)


def test_images_that_a_filter_leaves_out_are_said_and_not_counted(tmp_path):
    source = yolo(tmp_path / "set", train=96, val=1, polygons=True)
    for k in range(24):
        with Image.open(source / f"images/train/{k}.png") as image:
            image.resize((30, 24)).save(source / f"images/train/{k}.png")
    for k in range(24, 32):
        (source / f"labels/train/{k}.txt").write_text("")
    config = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
    cfg, _, own = prepared(config, tmp_path / "work", data=str(source), batch=8)
    assert [line for line in own.lines if "left out" in line] == [
        "  note: 32 of 96 training images left out: 24 smaller than 32 pixels (filter_cfg.min_size) and 8 without an "
        "object of the classes (filter_cfg.filter_empty_gt)"]
    assert cfg.train_cfg.max_iters == round(184375 * 64 / 117266)  # as of 64 images
