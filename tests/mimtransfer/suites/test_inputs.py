"""What makes a cell stale, and what does not."""
import json
import os
from pathlib import Path

import pytest
from suite_toys import checkout, run

from mimtransfer.suites.command import command
from mimtransfer.suites.data_inputs import data_inputs, path_digest
from mimtransfer.suites.inputs import changes, digest
from mimtransfer.suites.stat_cache import StatCache
from mimtransfer.suites.study import open_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished suite of one seed, run without processes."""
    monkeypatch.chdir(checkout(tmp_path))
    Path("data").mkdir()
    Path("data/list.txt").write_text("a b c")
    finish()
    return tmp_path


def study(**options):
    return open_study(Path.cwd(), "suite.py", seeds=[0], **options)


def finish():
    """Run what is not done, in this process; return the names."""
    opened, ran = study(), []
    for cell in opened.suite.cells.values():
        if opened.state(cell).name != "done":
            with opened.started(cell):
                assert run(opened.inputs.tool(cell), command(opened, cell)[2:]) == 0
            ran.append(cell.name)
    return ran


def stale(**options):
    """Return name -> state and why, of all that is not done."""
    return {name: f"{state.name} {state.why}".strip() for name, state in study(**options).states().items()
            if state.name != "done"}  # fmt: skip


def edit(path, old, new):
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def waiting(*starts):
    return {f"{task}_{start}-seed0": "waiting" for start in starts for task in ("det", "seg", "knn")}


def test_nothing_changed(folder):
    assert stale() == {}
    Path("suite-copy.py").write_text(Path("suite.py").read_text() + "# a comment\n")
    os.utime("data/list.txt")  # touched, with the same content
    assert stale() == {}


def test_a_config(folder):
    edit("configs/mae.py", "batch_size=4", "batch_size=8")  # the base of mfm.py, too
    why = "stale config train_dataloader.total_batch_size: 4 -> 8"
    assert stale() == {"mae-seed0": why, "mfm-seed0": why} | waiting("mae", "mfm")
    edit("configs/mae.py", "batch_size=8", "batch_size = 4")
    Path("configs/mae.py").write_text("# moved\nwork_dir = 'x'\n" + Path("configs/mae.py").read_text())
    assert stale() == {}


def test_an_option_and_the_seed(folder):
    edit("suite.py", 'config=f"configs/{name}.py"', 'config=f"configs/{name}.py", options={"train_cfg.max_iters": 30}, '
         'skip=["mae", "mfm"]')
    found = stale()
    assert found["det_random-seed0"] == "stale config train_cfg.max_iters: 20 -> 30"
    assert set(open_study(Path.cwd(), "suite.py", seeds=[0, 4]).states()) > set(found)


def test_data(folder):
    Path("data/list.txt").write_text("a b d")
    assert stale() == dict.fromkeys(("mae-seed0", "mfm-seed0"), "stale data data/list.txt") | waiting("mae", "mfm")


def test_code_that_is_used(folder):
    edit("pretrain/methods.py", '"""Mask."""', '"""Mask patches."""')
    edit("pretrain/shared.py", "# for now", "")
    edit("pretrain/watching.py", "interval = 10", "interval = 1")  # a hook that only draws
    assert stale() == {}
    edit("pretrain/other.py", "power = 2", "power = 3")
    assert stale() == {"mfm-seed0": "stale code pretrain/other.py"} | waiting("mfm")
    edit("pretrain/other.py", "power = 3", "power = 2")
    edit("pretrain/shared.py", "return 1", "return 2")  # imported by the file of MAE
    assert stale() == {"mae-seed0": "stale code pretrain/shared.py"} | waiting("mae")
    assert stale(accept_code=True) == {}
    edit("tools/train.py", "sys.exit", "raise SystemExit")
    found = stale(accept_code=False)
    assert found["det_random-seed0"] == "stale code tools/train.py" and "knn_random-seed0" not in found


def test_what_a_class_names(folder):
    """RandomMasking is named by MAE's code alone; a head that is registered by a call belongs to its file."""
    edit("pretrain/methods.py", "class RandomMasking:\n    pass", "class RandomMasking:\n    unit = 2")
    assert "mae-seed0" in stale()
    edit("mimtransfer/heads.py", "make)", "build)")
    assert stale()["det_random-seed0"] == "stale code mimtransfer/heads.py"


def test_what_was_made_again_makes_its_downstream_stale(folder):
    edit("pretrain/other.py", "power = 2", "power = 3")
    before = json.loads(Path("work_dirs/suite/mfm-seed0/result.json").read_text())
    edit("suite.py", 'mfm=dict(config="configs/mfm.py")', 'mfm=dict(config="configs/mfm.py", options={"x": 1})')
    assert finish() == ["mfm-seed0", "det_mfm-seed0", "seg_mfm-seed0", "knn_mfm-seed0"]
    after = json.loads(Path("work_dirs/suite/mfm-seed0/result.json").read_text())
    assert after["run_id"] != before["run_id"] and stale() == {}
    aside = sorted(Path("work_dirs/suite.replaced").glob("*/result.json"))
    assert [path.parent.name.split("-")[0] for path in aside] == ["det_mfm", "knn_mfm", "mfm", "seg_mfm"]
    downstream = json.loads(Path("work_dirs/suite/det_mfm-seed0/result.json").read_text())
    assert downstream["init"]["pretraining"]["run_id"] == after["run_id"]


def test_a_result_of_another_origin_is_set_aside(folder):
    Path("work_dirs/suite/det_random-seed0/cell.json").unlink()
    assert stale() == {"det_random-seed0": "stale not made by this suite"}
    assert finish() == ["det_random-seed0"] and len(list(Path("work_dirs/suite.replaced").iterdir())) == 1


def test_a_record_without_metrics_is_not_done(folder):
    path = Path("work_dirs/suite/det_random-seed0/result.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": {}}))
    assert stale() == {"det_random-seed0": "begun"}


def test_a_foreign_checkpoint(folder):
    Path("mae.pth").write_text("one")
    edit("suite.py", "random=None", 'random=None, official=dict(checkpoint="mae.pth")')
    cell = study().suite.cells["det_official-seed0"]
    first = study().inputs.of(cell, {})
    Path("mae.pth").write_text("two")
    second = study().inputs.of(cell, {})
    assert changes(first, second) == ["the checkpoint's file"] and digest(first) != digest(second)


def test_folders_of_data(tmp_path):
    cache = StatCache(tmp_path / "cache.json")
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_text(name)
    place = str(tmp_path / "images")
    first = path_digest(place, cache)
    cache.save()
    assert path_digest(place, StatCache(tmp_path / "cache.json")) == first
    (tmp_path / "images/b/2.png").write_text("new")
    second = path_digest(place, cache)
    (tmp_path / "images/b/2.png").write_text("newer")
    assert len({first, second, path_digest(place, cache)}) == 3
    assert path_digest(str(tmp_path / "nowhere"), cache) == "missing"


def test_which_data_a_config_reads(tmp_path):
    names = {
        "train_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": {
            "data_root": "coco/", "ann_file": "train.json", "data_prefix": {"img": "train/"}}}},
        "val_dataloader": {"dataset": {"data_root": "ade", "data_prefix": {"img_path": "i", "seg_map_path": "s"}}},
        "test_dataloader": {"dataset": {"type": "ClassFolder", "root": "test"}},
        "test_cfg": {"memory_dataloader": {"dataset": {"datasets": [{"root": "one"}, {"root": "two"}]}}},
    }  # fmt: skip
    cache = StatCache(tmp_path / "cache.json")
    both = {"coco/train.json", "coco/train/", "one", "two"}
    assert set(data_inputs(names, "val", cache)) == both | {"ade/i", "ade/s"}
    assert set(data_inputs(names, "test", cache)) == both | {"test"}


def test_a_broken_cache_counts_as_empty(tmp_path):
    (tmp_path / "cache.json").write_text('{"layout": 1')
    cache = StatCache(tmp_path / "cache.json")
    assert cache.get("key", lambda: (1, [])) == 1
    cache.save()
    assert StatCache(tmp_path / "cache.json").get("key", lambda: (2, [])) == 1
