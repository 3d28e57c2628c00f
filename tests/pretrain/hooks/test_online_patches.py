"""Patch k-NN while pretraining: the score of tools/test.py on the checkpoint, by data that are read without mmseg."""
import importlib
import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_classes import call, paint_classes
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from own_tool import record
from PIL import Image

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.index_maps import IGNORED, IndexMapFolder
from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.knn import KNNLoop, knn_votes
from mimtransfer.evaluation.probing.patches import PatchKNNLoop
from pretrain.hooks import online_patches as module
from pretrain.hooks.online_evaluation import OnlineEvaluationHook
from pretrain.hooks.online_patches import OnlinePatches, patches_of

ROOT = Path(__file__).resolve().parents[3]
SIZE = (36, 44)  # no multiple of a patch of 8
ENCODER = dict(arch="vit_tiny_patch16_224", patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, and larger ones of light and dark cells with index maps, some pixels not labelled."""
    folder = tmp_path_factory.mktemp("patches")
    paint_classes(folder, {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}, 60)
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 4)):
        for kind in ("img", "map"):
            (folder / "cells" / kind / split / "deep").mkdir(parents=True)
        for number in range(count):
            cells = rng.integers(0, 3, (4, 4)).repeat(9, 0).repeat(11, 1)
            noise = rng.integers(0, 60, (*SIZE, 3))
            name = f"{split}/{'deep/' if number % 2 else ''}{number}.png"
            Image.fromarray((cells[..., None] * 60 + noise).astype(np.uint8)).save(folder / "cells/img" / name)
            labels = cells.astype(np.uint8)
            labels[:9, :11] = IGNORED
            Image.fromarray(labels).save(folder / "cells/map" / name)
    return folder


def write_config(folder, name, scale=None, reduce_zero_label=None, **test_cfg):
    """A config of patch k-NN for tools/test.py, of which the hook reads data and settings."""
    cfg = Config.fromfile(ROOT / "configs/patch_probing/knn_vit-tiny_camvid.py")
    cfg.metainfo = dict(classes=("a", "b", "c"), palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    steps = [dict(type="LoadImageFromFile"), *([dict(type="Resize", scale=scale, keep_ratio=True)] if scale else []),
             dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
    for loader, split in ((cfg.test_dataloader, "test"), (cfg.test_cfg.memory_dataloader, "train")):
        loader.num_workers, loader.persistent_workers = 0, False
        loader.dataset.update(data_root=str(folder / "cells"), metainfo=cfg.metainfo, img_suffix=".png", pipeline=steps,
                              data_prefix=dict(img_path=f"img/{split}", seg_map_path=f"map/{split}"))
        if reduce_zero_label is not None:
            loader.dataset.reduce_zero_label = reduce_zero_label
    cfg.test_cfg.memory_dataloader.dataset.indices = [0, 1, 2, 4]
    cfg.model.backbone.update(ENCODER, img_size=32)
    cfg.model.data_preprocessor.test_cfg.size_divisor = 8
    cfg.test_cfg.update(dict(patches_per_image=7, k=3) | test_cfg)
    cfg.dump(folder / name)
    return name


def pretrain(folder, work_dir, *options):
    (folder / "pretrain.py").write_text(f"""
_base_ = [{str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook', label='MAE, colours')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
""")
    (folder / "probe.py").write_text(f"""
_base_ = [{str(ROOT / "configs/classification/knn_vit-tiny-p4_cifar10.py")!r}]
loader = dict(batch_size=5, num_workers=0)
test_cfg = dict(k=4, memory_dataloader=dict(dataset=dict(root='images/train', num_images=18), **loader))
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
""")
    call(folder, "pretrain", "pretrain.py", "--work-dir", work_dir, "--online", "probe.py", "--cfg-options",
         "online.budget=None", "online.fast_images=[9,6]", "online.full=1.0", "online.linear.epochs=2",
         "online.linear.warmup_epochs=1", *options)


@pytest.fixture(scope="module")
def scored(folder):
    """Two pretrainings alike but for the score."""
    write_config(folder, "patches.py")
    pretrain(folder, "with", "online.patches=patches.py")
    pretrain(folder, "without")
    return folder


def scores(folder, name):
    lines = map(json.loads, next((folder / name).glob("*/vis_data/scalars.json")).read_text().splitlines())
    return [line["online/patch_knn_miou"] for line in lines if "online/patch_knn_miou" in line]


def test_the_score_is_that_of_the_checkpoint(scored):
    call(scored, "test", "patches.py", "--pretrained", "with/epoch_2.pth", "--work-dir", "tested")
    expected = record(scored / "tested")["raw_metrics"]["mIoU"]
    (found,) = scores(scored, "with")
    assert 20 < expected < 100 and found == pytest.approx(expected, abs=0.006)  # mmseg rounds to two digits
    assert [value for _, value in record(scored / "with")["curves"]["online_patch_knn_miou"]] == [pytest.approx(found)]


def test_the_training_is_the_same_and_the_images_are_counted(scored):
    first, second = (read_checkpoint(scored / name / "epoch_2.pth")["state_dict"] for name in ("with", "without"))
    assert first and [name for name, value in first.items() if not torch.equal(value, second[name])] == []
    logs = [next((scored / name).glob("*/*.log")).read_text() for name in ("with", "without")]
    # 8 images of 40 x 48 pixels cost as 15 of 32 x 32; a full evaluation reads 18 + 18, and the 6 of the contrast.
    assert "1 full ones of 57, " in logs[0] and "1 full ones of 42, " in logs[1]
    assert scores(scored, "without") == []


def test_two_processes_draw_and_count_as_one(folder, monkeypatch):
    """Their shares in turns, without other processes: features are the mean colours of 4 x 4 pixels."""
    patches = OnlinePatches(**patches_of(str(folder / write_config(folder, "shared.py"))))

    def colours(images, padded):
        edges = (0, padded[1] - images.shape[3], 0, padded[0] - images.shape[2])
        return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(images.float(), edges), 4)

    alone = patches.miou(colours, seed=3)
    memories, areas = [], []
    read = module.read_features
    monkeypatch.setattr(module, "read_features", lambda *args: memories.append(read(*args)) or memories[-1])
    assert patches.miou(colours, seed=3) == alone
    reference = memories.pop()
    for rank in (0, 1):
        monkeypatch.setattr(module, "get_dist_info", lambda rank=rank: (rank, 2))
        monkeypatch.setattr(module, "read_features", lambda *args: memories.append(read(*args)) or reference)
        monkeypatch.setattr(module, "all_reduce", lambda value, op="sum": areas.append(value.clone()))
        patches.miou(colours, seed=3)
    together = torch.cat([memory for memory, _ in memories])
    assert sorted(together.tolist()) == sorted(reference[0].tolist()) and len(together) == 4 * 7
    hit, guessed, true = (areas[0] + areas[2]).double()
    assert 100 * float((hit / (guessed + true - hit)).nanmean()) == pytest.approx(alone, abs=1e-12) and 20 < alone < 100


def test_images_and_maps_are_read_as_mmseg_reads_them(folder):
    """In the order of names, resized and with labels as its pipeline makes them."""
    init_default_scope("mmseg")
    importlib.import_module("mmseg.datasets")
    (folder / "cells/some.txt").write_text("deep/3\n0\ndeep/1\n")
    hidden = {kind: folder / "cells" / kind / "test/.hidden" for kind in ("img", "map")}
    for kind, place in hidden.items():  # which mmseg looks into
        place.mkdir(exist_ok=True)
        shutil.copy(folder / "cells" / kind / "test/2.png", place / "9.png")
    for listed, reduce, number in ((None, False, 5), (None, True, 5), ("some.txt", False, 3)):
        write_config(folder, "read.py", scale=(30, 100), reduce_zero_label=reduce)
        cfg = Config.fromfile(folder / "read.py")
        if listed:
            cfg.test_dataloader.dataset.ann_file = listed
            cfg.dump(folder / "read.py")
        theirs = DATASETS.build(dict(cfg.test_dataloader.dataset, test_mode=True))
        ours = IndexMapFolder(**patches_of(str(folder / "read.py"))["test"])
        assert len(ours) == len(theirs) == number
        assert [image for image, _ in ours.paths] == [theirs.get_data_info(k)["img_path"] for k in range(len(theirs))]
        for k, item in enumerate(ours):
            image, sample = theirs[k]["inputs"].flip(0), theirs[k]["data_samples"]
            assert item.image.shape == image.shape == (3, 30, 37)
            assert (item.image.int() - image.int()).abs().max() <= 1
            assert torch.equal(item.labels, sample.gt_sem_seg.data[0].long())
    for place in hidden.values():
        shutil.rmtree(place)


def test_a_list_is_the_whole_data_set(scored):
    """Of the memory and of the test images: the score is that of tools/test.py, and another than that of all images."""
    cfg = Config.fromfile(scored / "patches.py")
    for name, dataset, lines in (("memory", cfg.test_cfg.memory_dataloader.dataset, "4\n0\n2\n"),
                                 ("test", cfg.test_dataloader.dataset, "deep/1\n2\n")):
        (scored / f"cells/{name}.txt").write_text(lines)
        dataset.update(ann_file=f"{name}.txt", indices=[0, 1] if name == "memory" else None)
    cfg.dump(scored / "listed.py")
    pretrain(scored, "listed", "online.patches=listed.py")
    call(scored, "test", "listed.py", "--pretrained", "listed/epoch_2.pth", "--work-dir", "tested_listed")
    expected = record(scored / "tested_listed")["raw_metrics"]["mIoU"]
    assert scores(scored, "listed") == [pytest.approx(expected, abs=0.006)] != scores(scored, "with")


def test_settings_are_those_of_the_loop():
    """Which a config leaves out."""
    loops, own = (inspect.signature(kind.__init__).parameters for kind in (PatchKNNLoop, OnlinePatches))
    votes, knn = inspect.signature(knn_votes).parameters, inspect.signature(KNNLoop.__init__).parameters
    for name in ("k", "temperature"):
        assert loops[name].default == own[name].default == votes[name].default == knn[name].default
    assert OnlineEvaluationHook({}, {}).knn == {name: votes[name].default for name in ("k", "temperature")}


@pytest.mark.parametrize("change", [
    dict(type="ADE20KDataset", metainfo=dict(classes=("wall", "sky"))),
    dict(type="RepeatDataset"),
    dict(pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"),
                   dict(type="Resize", scale=(30, 100), keep_ratio=True), dict(type="PackSegInputs")]),
    dict(pipeline=[dict(type="LoadImageFromFile"), dict(type="Resize", scale_factor=0.5, keep_ratio=True),
                   dict(type="LoadAnnotations"), dict(type="PackSegInputs")]),
    dict(pipeline=[]),
])
def test_data_that_mmseg_would_read_otherwise_are_refused(folder, change):
    write_config(folder, "odd.py")
    cfg = Config.fromfile(folder / "odd.py")
    cfg.test_dataloader.dataset.update(change)
    cfg.dump(folder / "odd.py")
    with pytest.raises(UserError, match="expected files of type BaseSegDataset or ADE20KDataset") as error:
        patches_of(str(folder / "odd.py"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    (dict(images="nowhere"), "folder 'nowhere' does not exist"),
    (dict(image_ending=".tif"), "no image *.tif"),
    (dict(map_ending=".tif"), "no index map"),
    (dict(indices=[0, 9]), "indices have 9, but"),
    (dict(listed="nothing.txt"), "nothing.txt: no such file"),
    (dict(listed=__file__), "no image "),
])
def test_folders_that_are_none_are_named(folder, change, message):
    options = dict(images=str(folder / "cells/img/test"), maps=str(folder / "cells/map/test"), image_ending=".png")
    with pytest.raises(UserError) as error:
        IndexMapFolder(**options | change)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("pixels", "message"), [
    (np.zeros((3, 4), np.uint8), "is 4 x 3, its image 6 x 5"),
    (np.zeros((5, 6, 3), np.uint8), "holds no class numbers"),
    (b"", "cannot be read"),
])
def test_maps_that_are_none_are_named(tmp_path, pixels, message):
    for kind in ("img", "map"):
        (tmp_path / kind).mkdir()
    Image.new("RGB", (6, 5)).save(tmp_path / "img/a.png")
    if isinstance(pixels, bytes):
        (tmp_path / "map/a.png").write_bytes(pixels)
    else:
        Image.fromarray(pixels).save(tmp_path / "map/a.png")
    images = IndexMapFolder(str(tmp_path / "img"), str(tmp_path / "map"), image_ending=".png")
    with pytest.raises(UserError) as error:
        images[0]
    assert message in str(error.value) and "a.png" in str(error.value)


@pytest.mark.parametrize(("options", "message"), [
    (["online.patches=configs/nothing.py"], "configs/nothing.py"),
    (["online.patches=probe.py"], "expected a config of patch k-NN"),
    (["online.patches=far.py"], "got patches.k=1000 and 28 labelled patches"),
    (["online.patches=cut.py"], "no multiple of the encoder's cells"),
    (["online.patches=none.py"], "got patches.k=0, expected"),
    (["online.patches=cold.py"], "patches: got temperature=0, expected a number above 0"),
])
def test_mistakes_give_one_line(scored, options, message, tmp_path, capsys):
    write_config(scored, "far.py", k=1000)
    write_config(scored, "none.py", k=0)
    write_config(scored, "cold.py", temperature=0)
    cut = Config.fromfile(scored / "patches.py")
    cut.model.data_preprocessor.test_cfg.size_divisor = 1
    cut.dump(scored / "cut.py")
    with pytest.raises(SystemExit) as stopped:
        pretrain(scored, tmp_path, *options)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize("change", [dict(test_cfg=dict(size=(64, 64))), dict(pad_val=114)])
def test_images_that_mmseg_would_pad_otherwise_are_refused(folder, change):
    write_config(folder, "odd.py")
    cfg = Config.fromfile(folder / "odd.py")
    cfg.model.data_preprocessor.update(change)
    cfg.dump(folder / "odd.py")
    with pytest.raises(UserError, match="expected images that are padded by zeros"):
        patches_of(str(folder / "odd.py"))


def test_shipped_configs_are_read():
    camvid, ade = (patches_of(str(ROOT / f"configs/patch_probing/knn_{name}.py"))
                   for name in ("vit-tiny-p4_camvid-cpu", "vit-base_ade20k-512x512"))
    assert camvid["memory"] == dict(images="data/camvid/images/train", maps="data/camvid/annotations/train",
                                    listed=None, image_ending=".jpg", map_ending=".png", scale=(96, 72),
                                    reduce_zero_label=False, indices=list(range(0, 367, 3)))
    assert (camvid["patches_per_image"], camvid["divisor"]) == (100, 4)
    assert ade["test"]["reduce_zero_label"] and ade["test"]["scale"] == (2048, 512) and ade["patches_per_image"] == 64
