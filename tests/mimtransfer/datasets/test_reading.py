"""Files that break while a run reads them: one line with the name from every worker, and the option to go on."""
import pickle

import pytest
from bad_data import Boxes, Classes, Maps, Masks, cut, empty, fifo, float_tiff, html, turned
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.cli import launch
from mimtransfer.cli.explain import explain
from mimtransfer.datasets.configured import set_max_corrupt

PIPELINES = {
    Boxes: [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True), dict(type="PackDetInputs")],
    Masks: [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs")],
    Maps: [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(32, 24)), dict(type="LoadAnnotations"),
           dict(type="PackSegInputs")],
}
IMAGES = {Boxes: "train/11.jpg", Maps: "img/train/t1.jpg", Classes: "train/ant/1.png"}


def whole(item):
    return item


def loader(data, max_corrupt=None, num_workers=1):
    """Build the training data as the Runner does, and load them one by one."""
    if type(data) in PIPELINES:
        data.dataset().update(pipeline=PIPELINES[type(data)])
    cfg = launch.load_config(data.write(), [])
    launch.enter_scope(cfg)
    set_max_corrupt(cfg.train_dataloader, max_corrupt)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return DataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=whole)


def error_of(batches):
    """Return the error with which a loader ends; its workers are ended here, the garbage collector would wait 5 s."""
    run = iter(batches)
    with pytest.raises(Exception) as caught:
        list(run)
    if batches.num_workers:
        run._shutdown_workers()
    return caught.value


def line_of(data, num_workers=1):
    line = explain(error_of(loader(data, num_workers=num_workers)))
    assert line is not None
    assert "\n" not in line and "; " in line
    return line


@pytest.mark.parametrize("break_it", [cut, empty, html, float_tiff, fifo], ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", IMAGES, ids=lambda cls: cls.__name__)
def test_an_unreadable_image_is_named(kind, break_it, tmp_path):
    data = kind(tmp_path)
    break_it(tmp_path / IMAGES[kind])
    if break_it is fifo and kind in (Classes, Maps):  # folders are listed: it is no file of them
        assert len(list(loader(data))) == {Classes: 5, Maps: 3}[kind]
        return
    line = line_of(data)
    assert f"image {str(tmp_path / IMAGES[kind])!r} cannot be read (" in line and "--max-corrupt N" in line


@pytest.mark.parametrize("break_it", [cut, empty, html, fifo], ids=lambda f: f.__name__)
def test_an_unreadable_index_map_is_named(break_it, tmp_path):
    data = Maps(tmp_path)
    break_it(tmp_path / "map/train/t1.png")
    assert f"index map {str(tmp_path / 'map/train/t1.png')!r} cannot be read (" in line_of(data)


def test_an_index_map_of_another_size_is_named(tmp_path):
    data = Maps(tmp_path)
    turned(tmp_path / "img/train/t1.jpg", 6)
    line = line_of(data, num_workers=0)
    assert "t1.png' is 64 x 48, its image 48 x 64; resize it" in line and "EXIF" in line


def test_a_mask_that_cannot_be_drawn_is_named(tmp_path):
    data = Masks(tmp_path)
    data.first(segmentation=dict(size=[4, 4], counts="abc"))
    assert f"annotations of image {str(tmp_path / 'train/10.jpg')!r} cannot be read" in line_of(data, num_workers=0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", IMAGES, ids=lambda cls: cls.__name__)
def test_a_run_goes_on_from_so_many(kind, num_workers, tmp_path):
    logger = MMLogger.get_instance(f"reading {tmp_path}", log_file=str(tmp_path / "log"))
    data = kind(tmp_path)
    html(tmp_path / IMAGES[kind])
    again = loader(data, max_corrupt=1, num_workers=num_workers)
    count = len(again.dataset)
    assert [len(list(again)), len(list(again))] == [count, count]
    html(tmp_path / IMAGES[kind].replace("1.", "2."))
    assert "more than max_corrupt=1 images cannot be read, the last is" in explain(error_of(again))
    assert logger is MMLogger.get_current_instance()
    assert (tmp_path / "log").read_text().count("another takes its place; 1 so far, limit max_corrupt=1") == 1


def test_what_takes_the_place_keeps_its_own_label(tmp_path):
    data = Classes(tmp_path)
    html(tmp_path / "train/ant/2.png")
    labels = [item["label"] for item in loader(data, max_corrupt=1, num_workers=0)]
    assert labels == [0, 0, 1, 1, 1, 1]  # of the two ants and, in the place of the third, a bee


@pytest.mark.parametrize("kind", [Masks, Maps], ids=lambda cls: cls.__name__)
def test_a_spawned_worker_finds_the_transforms(kind, tmp_path):
    dataset = loader(kind(tmp_path), num_workers=0).dataset
    again = pickle.loads(pickle.dumps(dataset))
    assert len([again[i] for i in range(len(again))]) == 4
