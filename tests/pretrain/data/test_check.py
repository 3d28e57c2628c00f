"""What is wrong with the images of a pretraining is found before it, and doctor and tool say the same line."""
from pathlib import Path

import pytest
from bad_data import cut, empty, html, lost, picture
from mmengine.config import Config

import mimtransfer  # noqa: F401
from mimtransfer.checks import FAIL, OK, WARN
from mimtransfer.checks.config import check_config
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS
from pretrain.data import check
from pretrain.runner import register_all

DEBUG = Path(__file__).parents[3] / "configs/pretrain/mae_vit-demo_scenes.py"


def config(folder, **dataset):
    """Write a config of a folder with 24 images, and return its path with the folder."""
    (folder / "images").mkdir()
    for k in range(24):
        picture(k, (8, 8)).save(folder / f"images/{k:02d}.png")
    changes = dict(root=str(folder / "images"), **dataset)
    (folder / "config.py").write_text(f"_base_ = [{str(DEBUG)!r}]\ntrain_dataloader = dict(dataset={changes!r})\n")
    return str(folder / "config.py"), folder / "images"


def nothing_there(images):
    for path in images.iterdir():
        path.unlink()


CASES = {
    "sound": (lambda images: None, {}, OK, "24 images"),
    "a link to nothing": (lambda images: lost(images / "00.png"), {}, WARN, "left out 00.png (a link to nothing)"),
    "one is cut": (lambda images: cut(images / "00.png"), {}, WARN, "1 images of the train data that cannot be read: "),
    "more than allowed": (lambda images: (html(images / "00.png"), empty(images / "01.png")), dict(max_corrupt=1), FAIL,
                          "2 images of the train data that cannot be read: "),
    "no folder": (lambda images: images.rename(images.with_name("gone")), {}, FAIL, "does not exist"),
    "no image": (nothing_there, {}, FAIL, "no image in "),
}


@pytest.mark.parametrize("name", CASES)
def test_doctor_and_tool_say_the_same(name, tmp_path, monkeypatch):
    """The doctor had nothing to say of a pretraining without images."""
    register_all()
    change, dataset, level, says = CASES[name]
    path, images = config(tmp_path, **dataset)
    change(images)
    said = [found for found in check_config(path, [], None, None, check.image_findings) if says in found.line]
    assert said and {found.level for found in said} == {level}, said
    logged = []
    for module in ("pretrain.data.check.print_log", "mimtransfer.datasets.sources.paths.print_log"):
        monkeypatch.setattr(module, lambda line, **_: logged.append(line))
    try:
        monkeypatch.setattr(check, "_DECODED", 24)
        check.check_images(DATASETS.build(Config.fromfile(path).train_dataloader.dataset))
        assert level != FAIL
    except UserError as error:
        assert level == FAIL and str(error) == said[0].line
    assert (logged == [said[0].line]) == (level == WARN)


@pytest.mark.parametrize("dataset", [dict(type="mmdet.CocoDataset"), dict(type="ImageFoldr"), {}])
def test_other_configs_are_left_to_others(dataset):
    assert list(check.image_findings(Config(dict(train_dataloader=dict(dataset=dataset))), 1)) == []
