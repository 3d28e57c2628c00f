"""A work dir holds one run: what another one or a test does there leaves its config and data as they were."""
from pathlib import Path

import pytest
from own_sets import yolo
from own_tool import call_tool, record

from mimtransfer.cli.launch import load_config

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
TRAIN = ["train", DET, "--data", "leaves", "--quick"]
SHORT = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2"]
WORK_DIR = Path("work_dirs/mask-rcnn_vit-demo_scenes_leaves_quick")
OWN = WORK_DIR / "own_mask-rcnn_vit-demo_scenes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with two sets of the same name."""
    out = tmp_path_factory.mktemp("own")
    yolo(out / "leaves", polygons=True)
    yolo(out / "other/leaves", train=5, val=3, polygons=True)
    return out


@pytest.fixture(scope="module")
def trained(folder):
    """A run on one of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert not call_tool(*TRAIN, "--cfg-options", *SHORT)


def contents(folder=WORK_DIR):
    """Return the files of a work dir, but for those in its dated folders."""
    return {path: path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.relative_to(folder).parts[0][:8].isdigit()}


def test_a_run_leaves_one_of_another_config_as_it_was(trained, call, capsys):
    before = contents()
    for options, said in [
        (["--cfg-options", "train_dataloader.batchsize=2"], "takes no key 'batchsize'"),
        (["--cfg-options", *SHORT, "train_dataloader.batch_size=2"], "holds a run of another config"),
        (["--data", "other/leaves", "--cfg-options", *SHORT], "holds a run on"),
    ]:
        assert call(*TRAIN, *options) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("error:") == 1 and contents() == before
    assert call("train", str(ROOT / "configs/detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py"), "--data", "leaves",
                "--quick", "--work-dir", str(WORK_DIR)) == 2
    assert "--work-dir" in capsys.readouterr().err and contents() == before
    # The same run once more, its work dir written otherwise; then one that goes on, which keeps the first config.
    assert not call(*TRAIN, "--work-dir", f"./{WORK_DIR}", "--cfg-options", *SHORT)
    written = OWN.read_text()
    assert not call(*TRAIN, "--resume", "--cfg-options", "train_cfg.max_iters=4", *SHORT[1:])
    assert load_config(str(OWN), []).train_cfg.max_iters == 4 and record(WORK_DIR)["evaluated"]["iter"] == 4
    kept, = WORK_DIR.glob("old_*.py")
    assert kept.read_text() == written and load_config(str(kept), []).train_cfg.max_iters == 2


def test_a_test_leaves_the_config_of_the_training_as_it_was(trained, call):
    """Whether it ends well or not, it writes its config into its dated folder."""
    Path("elsewhere").mkdir()
    config = Path("elsewhere", OWN.name)
    config.write_text(OWN.read_text())
    before = contents()
    assert not call("test", config, WORK_DIR, "--cfg-options", "test_dataloader.batch_size=1")
    after = contents()
    assert set(after) == set(before) and after[OWN] == before[OWN]
    odd = Path("elsewhere", "odd.py")
    odd.write_text(OWN.read_text().replace("num_classes=2", "num_classes=3"))
    assert call("test", odd, WORK_DIR) == 2
    assert contents() == after
    assert not call("test", config, WORK_DIR, "--data", "other/leaves")
    assert {path: content for path, content in contents().items() if "tested_on_leaves" not in str(path)} == after
    assert not [*(WORK_DIR / "tested_on_leaves").glob("*.py")]
