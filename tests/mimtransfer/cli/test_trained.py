"""A checkpoint is tested with the config that it was trained with, and its classes are those that it names."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mimtransfer.cli.launch import load_config
from mimtransfer.cli.trained import check_trained_with, trained_classes
from mimtransfer.errors import UserError
from mimtransfer.own_data.options import OwnOptions

CONFIGS = Path(__file__).parents[3] / "configs"
# Its weights fit images of any size.
RESNET = str(CONFIGS / "detection/mask-rcnn_resnet50-demo_scenes.py")
CLASSIFIER = str(CONFIGS / "classification/finetune_mae_vit-base_100e_in1k.py")


def trained(folder, config=RESNET, classes=None, **options):
    """Return a checkpoint of a training with these options, and the config that it has written."""
    said = dict(data=None, quick=False, image_size=None, num_classes=None, batch=None, epochs=None, pretrained=None)
    own = OwnOptions(config, str(folder), **said | options, processes=1, goes_on=False)
    cfg, written = load_config(config, [], prepare=own.apply), config
    if own.given:
        own.report(cfg)
        own.write()
        written = str(folder / f"own_{Path(config).name}")
    torch.save({"state_dict": {}, "meta": {"cfg": cfg.pretty_text, "dataset_meta": {"CLASSES": classes}}},
               folder / "iter_1.pth")
    return str(folder / "iter_1.pth"), written


@pytest.mark.parametrize(("config", "options", "name"), [
    (RESNET, dict(image_size=64), "scenes, 64 pixels"),
    (RESNET, dict(quick=True), "quick look"),
    (CLASSIFIER, dict(epochs=3), "3 epochs"),
])
def test_a_config_without_the_options_of_the_training_is_refused(tmp_path, config, options, name):
    checkpoint, written = trained(tmp_path, config, **options)
    with pytest.raises(UserError, match=f"{name}.*has written {written}: to test it, give that config") as error:
        check_trained_with(load_config(config, []), config, checkpoint)
    assert "\n" not in str(error.value)
    check_trained_with(load_config(written, []), written, checkpoint)
    Path(written).unlink()
    with pytest.raises(UserError, match=r"give the config that its training has written .*own_CONFIG.py"):
        check_trained_with(load_config(config, []), config, checkpoint)


def test_the_config_of_another_training_is_refused(tmp_path):
    """Both are of one recipe, and the weights fit."""
    for name in "abc":
        (tmp_path / name).mkdir()
    checkpoint, written = trained(tmp_path / "a", image_size=64)
    other = trained(tmp_path / "b", image_size=96)[1]
    with pytest.raises(UserError, match=r"64 pixels.* says .*96 pixels"):
        check_trained_with(load_config(other, []), other, checkpoint)
    # The config of a training was trained with, and options again.
    checkpoint, again = trained(tmp_path / "c", config=written, quick=True)
    for wrong in (RESNET, written, other):
        with pytest.raises(UserError, match="64 pixels, quick look"):
            check_trained_with(load_config(wrong, []), wrong, checkpoint)
    check_trained_with(load_config(again, []), again, checkpoint)


def test_options_that_change_no_score_are_said_only(tmp_path, capsys):
    checkpoint, written = trained(tmp_path, batch=2)
    check_trained_with(load_config(RESNET, []), RESNET, checkpoint)
    said = capsys.readouterr()
    assert f"has written {written}: to test it, give that config" in said.out + said.err


@pytest.mark.parametrize("meta", [{}, None, {"cfg": "model = open('x')"}, {"cfg": 3}, {"cfg": "protocol = 3"}])
def test_checkpoints_of_others_are_taken(tmp_path, meta):
    torch.save({"state_dict": {}, "meta": meta}, tmp_path / "a.pth")
    check_trained_with(load_config(RESNET, []), RESNET, str(tmp_path / "a.pth"))
    check_trained_with(load_config(RESNET, []), RESNET, None)
    assert trained_classes(str(tmp_path / "a.pth")) is None and trained_classes(None) is None


def test_the_classes_of_a_checkpoint_and_their_order(tmp_path):
    checkpoint, _ = trained(tmp_path, classes=("a", "b"))
    assert trained_classes(checkpoint) == ("a", "b")
    for classes in (("b", "a"), ("b", "c"), ["c", "a"]):
        with pytest.raises(UserError, match=r"in another order: it has 'a' where .*classes has '[bc]'"):
            check_trained_with(tested_on(metainfo=dict(classes=classes)), RESNET, checkpoint)
    check_trained_with(tested_on(metainfo=dict(classes=("a", "b"))), RESNET, checkpoint)


def test_a_checkpoint_of_other_classes_is_refused_though_its_weights_fit(tmp_path):
    checkpoint, _ = trained(tmp_path, classes=("a", "b"))
    with pytest.raises(UserError, match=r"trained on other classes: a, b; .*classes has c, d"):
        check_trained_with(tested_on(metainfo=dict(classes=("c", "d"))), RESNET, checkpoint)
    voc, others = "mmdet.VOCDataset", tuple(f"c{k}" for k in range(20))
    checkpoint, _ = trained(tmp_path, classes=others)
    with pytest.raises(UserError, match=r"other classes: c0, c1, .*dataset has aeroplane, bicycle"):
        check_trained_with(tested_on(type=voc), RESNET, checkpoint)


def test_a_class_of_another_name_in_its_place_is_said(tmp_path, capsys):
    """A class may have been renamed."""
    checkpoint, _ = trained(tmp_path, classes=("a", "b"))
    check_trained_with(tested_on(metainfo=dict(classes=("a", "c"))), RESNET, checkpoint)
    said = capsys.readouterr()
    assert "calls 'b' what test_dataloader.dataset.metainfo.classes calls 'c'" in said.out + said.err


@pytest.mark.parametrize(("folders", "trained_classes", "refused"), [
    (("a", "b"), None, None), (("c", "d"), None, "other classes"), (("0", "a"), None, "another order"),
    (("b",), ["a", "b"], None), (("b",), ["b", "c"], "another order"), (("b",), None, None),
    ((), None, None),
])
def test_the_classes_of_folders(tmp_path, folders, trained_classes, refused):
    checkpoint, _ = trained(tmp_path, CLASSIFIER, ("a", "b"))
    for name in (*folders, ".hidden"):
        (tmp_path / "images" / name).mkdir(parents=True)
    root = str(tmp_path / ("images" if folders else "not there"))
    cfg = tested_on(type="ClassFolder", root=root, **({"trained_classes": trained_classes} if trained_classes else {}))
    if refused is None:
        return check_trained_with(cfg, CLASSIFIER, checkpoint)
    with pytest.raises(UserError, match=refused):
        check_trained_with(cfg, CLASSIFIER, checkpoint)


def tested_on(**dataset):
    return Config(dict(protocol="x", test_dataloader=dict(dataset=dataset)))
