"""Configs by path, by short name and by `mimtransfer::`; near matches; what their heads say."""
from pathlib import Path

import pytest

from mimtransfer.errors import UserError
from mimtransfer.shipped.configs import find_config, leaves, locate
from mimtransfer.shipped.heads import listing, matching, read_head
from mimtransfer.shipped.places import shipped

ROOT = Path(__file__).resolve().parents[3]
MAE = "configs/pretrain/mae_vit-base_800e_in1k.py"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [
    "mae_vit-base_800e_in1k", "mae_vit-base_800e_in1k.py", "pretrain/mae_vit-base_800e_in1k", MAE,
    "mimtransfer::pretrain/mae_vit-base_800e_in1k.py", "mimtransfer::mae_vit-base_800e_in1k", Path(MAE),
])
def test_names_of_one_config(name):
    assert find_config(name) == str(ROOT / MAE)


def test_in_the_checkout_a_path_is_relative(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert find_config("mae_vit-base_800e_in1k") == MAE and find_config(MAE) == MAE


def test_every_short_name_is_that_of_one_file():
    names = [path.stem for path in leaves()]
    assert len(names) == len(set(names)) > 200
    assert all(locate(path.stem) == str(path) for path in leaves(suites=False))


def test_a_file_that_is_there_comes_first(tmp_path):
    Path("mae_vit-base_800e_in1k.py").touch()
    assert find_config("mae_vit-base_800e_in1k") == "mae_vit-base_800e_in1k.py"
    assert find_config("mimtransfer::mae_vit-base_800e_in1k") == str(ROOT / MAE)
    Path("mine").mkdir()
    Path("mine/new.py").touch()
    assert find_config("mine/new") == "mine/new.py"
    assert find_config(tmp_path / "mine/new.py") == str(tmp_path / "mine/new.py")


def test_suites_and_configs_have_names_of_their_own():
    assert locate("demo", suites=True) == str(ROOT / "configs/suites/demo.py") and locate("demo") is None
    assert locate("mae_vit-base_800e_in1k", suites=True) is None


@pytest.mark.parametrize(("name", "message"), [
    ("mae_vit-base_800e_in1", "config 'mae_vit-base_800e_in1': no such file; it is the beginning of "
                              "'mae_vit-base_800e_in1k'"),
    ("mae_vit-bsae_800e_in1k.py", "config 'mae_vit-bsae_800e_in1k.py': no such file; did you mean "
                                  "'mae_vit-base_800e_in1k'"),
    ("configs/pretrain/mae_vit-bsae_800e_in1k.py", "config 'configs/pretrain/mae_vit-bsae_800e_in1k.py': no such file; "
                                                   "did you mean 'mae_vit-base_800e_in1k'"),
    ("camvid-bccd-cpu", "config 'camvid-bccd-cpu' is a suite ("),
    ("qqq", "config 'qqq': no such file; `mimtransfer configs` lists those that are shipped"),
    ("/nowhere/qqq.py", "config '/nowhere/qqq.py': no such file; the folder '/nowhere' does not exist"),
    ("mask-rcnn_vitdet_vit-base", "config 'mask-rcnn_vitdet_vit-base': no such file; it is the beginning of "
                                  "'mask-rcnn_vitdet_vit-base_100e_coco', "),
    ("", "config '': no such file; `mimtransfer configs`"),
])
def test_typos(name, message):
    with pytest.raises(UserError) as error:
        find_config(name)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_near_file_comes_before_a_near_name():
    Path("mae_vit-base_800e_in1x.py").touch()
    with pytest.raises(UserError, match=r"did you mean 'mae_vit-base_800e_in1x\.py'"):
        find_config("mae_vit-base_800e_in1y.py")


def test_what_is_wrong_in_a_folder_that_is_there_is_told_by_who_reads_it(tmp_path):
    assert find_config("./own.py") == "./own.py" and find_config(tmp_path) == str(tmp_path)


def test_heads():
    head = read_head(ROOT / "configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py")
    assert (head.folder, head.data) == ("detection", "coco")
    assert head.title == "ViTDet Mask R-CNN, ViT-B/16, 100 epochs of COCO"
    assert head.score.startswith("51.6 box AP, 45.9 mask AP from MAE, 1600 epochs")
    mae = read_head(ROOT / MAE)  # another form of fields, and one of two lines
    assert mae.score.startswith("fine-tuning 83.3") and "68.0 (arXiv 2111.06377)." in mae.score and mae.data == "in1k"
    knn = read_head(ROOT / "configs/classification/knn_vit-tiny-p4_cifar10.py")
    assert knn.data.startswith("data/cifar10/{train,test} as class folders") and knn.score.startswith("k-NN top-1")


def test_the_list_has_a_line_for_each_config():
    lines = [line for line in listing(matching(None)).splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == [path.stem for path in leaves()]
    assert all(" | data: " in line for line in lines) and all(len(line) < 320 for line in lines)


@pytest.mark.parametrize(("pattern", "names"), [
    ("BCCD-cpu", {"faster-rcnn_vit-tiny_bccd-cpu", "camvid-bccd-cpu", "label-shares_camvid-bccd-cpu"}),
    ("detection/mask2former*", {"mask2former_vitdet_vit-base_50e_coco"}),
    ("mae_vit-base_800e_in1k", {"mae_vit-base_800e_in1k"}),
    ("retina net", {"retinanet_vitdet_vit-base_100e_coco"}),
    ("fasterrcnn", {"faster-rcnn_vit-tiny_bccd-cpu", "faster-rcnn_vit-tiny_bccd"}),
])
def test_patterns(pattern, names):
    assert {head.name for head in matching(pattern)} == names


def test_one_config_is_shown_with_all_of_its_head():
    text = listing(matching("mae_vit-base_800e_in1k"))
    assert "Effective batch: 8 GPUs x 128 x accumulation 4 = 4096." in text


def test_no_match():
    hint = "no config matches 'mae_vit-bsae_800e_in1k'; did you mean 'mae_vit-base_800e_in1k'"
    with pytest.raises(UserError, match=hint):
        matching("mae_vit-bsae_800e_in1k")


def test_places():
    assert shipped("configs") == ROOT / "configs" and shipped("tools") == ROOT / "tools"


def test_no_line_leaves_a_field_out():
    """A path is one long word: it is cut, not left out."""
    lines = listing(matching(None)).splitlines()
    assert sum("| data: " in line for line in lines) > 200
    assert not [line for line in lines if "data: ..." in line or "score: ..." in line]


def test_what_is_short_is_not_cut():
    """In the listing a word of four letters was followed by "..."."""
    lines = {line.split()[0]: line for line in listing(matching(None)).splitlines() if line.startswith("  ")}
    assert "Mask R-CNN of the demo, on the embedded scenes, minutes on a CPU |" in lines["mask-rcnn_vit-demo_scenes"]
    assert lines["mae_vit-base_800e_in1k"].partition("data: ")[2].split(" |")[0] == "in1k"
