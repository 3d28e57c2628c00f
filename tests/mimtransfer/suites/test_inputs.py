"""What makes a job stale, and what does not."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from suite_toys import checkout, run

from mimtransfer.suites.inputs import StatCache, changes, data_digests, digest, path_digest
from mimtransfer.suites.local import command
from mimtransfer.suites.state import Study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished suite of one seed, run without processes."""
    monkeypatch.chdir(checkout(tmp_path))
    Path("data").mkdir()
    Path("data/list.txt").write_text("a b c")
    finish()
    return tmp_path


def study(**options):
    return Study(Path.cwd(), "suite.py", seeds=[0], **options)


def finish(**options):
    """Run what is not done, in this process; return the names."""
    opened, ran = study(**options), []
    for job in opened.suite.jobs.values():
        if opened.state(job).name != "done":
            with opened.started(job):
                assert run(opened.inputs.tool(job), command(opened, job)[2:]) == 0
            ran.append(job.name)
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
    assert set(Study(Path.cwd(), "suite.py", seeds=[0, 4]).states()) > set(found)


def test_data(folder):
    Path("data/list.txt").write_text("a b d")
    assert stale() == dict.fromkeys(("mae-seed0", "mfm-seed0"), "stale data data/list.txt") | waiting("mae", "mfm")


def test_code(folder):
    """Every .py file of the packages counts, but for those that only describe or export a run; a tool for its own."""
    why = "stale code pretrain/other.py"
    everything = dict.fromkeys(("mae-seed0", "mfm-seed0", *waiting("random")), why) | waiting("mae", "mfm")
    edit("pretrain/other.py", "power = 2", "power = 3")
    assert stale() == everything
    assert stale(accept_code=True) == {}
    edit("pretrain/other.py", "power = 3", "power = 2")
    assert stale() == {}
    for name in ("mimtransfer/results", "mimtransfer/suites", "mimtransfer/checks", "mimtransfer/benchmarks",
                 "mimtransfer/api", "mimtransfer/export", "pretrain/benchmarks"):
        Path(name).mkdir()
        Path(name, "new.py").write_text("x = 1")
    Path("pretrain/notes.txt").write_text("x")
    assert stale() == {}
    edit("tools/train.py", "sys.exit", "raise SystemExit")
    assert stale() == dict.fromkeys(("det_random-seed0", "seg_random-seed0", "det_mae-seed0", "seg_mae-seed0",
                                     "det_mfm-seed0", "seg_mfm-seed0"), "stale code tools/train.py")
    for name in "abcd":
        Path("pretrain", f"{name}.py").write_text("x = 1")
    assert stale()["mae-seed0"] == "stale code pretrain/a.py, pretrain/b.py, pretrain/c.py and 1 more"


def test_modules_of_a_users_own(folder, monkeypatch):
    """Those that a config imports, one file or a package, count for its runs only."""
    monkeypatch.syspath_prepend(folder)  # reading the config imports them
    Path("mine/deep").mkdir(parents=True)
    Path("mine/deep/part.py").write_text("x = 1")
    Path("alone.py").write_text("x = 1")
    edit("configs/seg.py", "protocol", "custom_imports = dict(imports=['mine', 'alone', 'json'])\n"
         "protocol")
    finish()
    edit("mine/deep/part.py", "1", "2")
    edit("alone.py", "1", "2")
    why = "stale code alone.py, mine/deep/part.py"
    assert stale() == {f"seg_{start}-seed0": why for start in ("mae", "mfm", "random")}


def old_scheme(folder):
    """Make a work dir look as an earlier version left it: `cell.json`, with a digest of each file that a run used."""
    path = folder / "job.json"
    content = json.loads(path.read_text())
    content["parts"]["code"] = {"pretrain/other.py": "0123456789abcdef"}
    del content["parts"]["source"]
    path.with_name("cell.json").write_text(json.dumps({**content, "fingerprint": digest(content["parts"])}))
    path.unlink()


def test_what_an_earlier_version_made(folder):
    """`--accept-code` keeps it, and what is made now from it; without, it is stale for its code alone."""
    work = Path("work_dirs/suite")
    made = {path: path.read_text() for path in work.glob("mae-seed0/result.json")}
    for path in list(work.glob("*mae-seed0")):
        shutil.rmtree(path) if path.name != "mae-seed0" else old_scheme(path)
    old_scheme(work / "det_random-seed0")
    found = stale()
    assert found["mae-seed0"] == found["det_random-seed0"] == (
        "stale code not comparable with that of an earlier version of the suites; --accept-code keeps what it made")
    assert set(stale(accept_code=True)) == {f"{task}_mae-seed0" for task in ("det", "seg", "knn")}
    assert finish(accept_code=True) == ["det_mae-seed0", "seg_mae-seed0", "knn_mae-seed0"]
    assert {path: path.read_text() for path in made} == made
    assert stale(accept_code=True) == {} and not Path("work_dirs/suite.replaced").exists()
    edit("configs/mae.py", "batch_size=4", "batch_size=8")  # other changes are told as ever
    assert "config train_dataloader.total_batch_size: 4 -> 8" in stale(accept_code=True)["mae-seed0"]


def test_a_run_that_an_earlier_version_began(folder):
    """It is resumed with `--accept-code`, and set aside without."""
    place = Path("work_dirs/suite/det_random-seed0")
    old_scheme(place)
    (place / "result.json").unlink()
    assert stale(accept_code=True) == {"det_random-seed0": "begun"}
    assert finish(accept_code=True) == ["det_random-seed0"] and (place / "epoch_1.pth").exists()
    assert len((place / "starts.txt").read_text().splitlines()) == 2


def test_what_was_made_again_makes_its_downstream_stale(folder):
    before = json.loads(Path("work_dirs/suite/mfm-seed0/result.json").read_text())
    edit("suite.py", '"configs/mfm.py"', '"configs/mfm.py", options={"train_cfg.max_epochs": 3}')
    assert finish() == ["mfm-seed0", "det_mfm-seed0", "seg_mfm-seed0", "knn_mfm-seed0"]
    after = json.loads(Path("work_dirs/suite/mfm-seed0/result.json").read_text())
    assert after["run_id"] != before["run_id"] and stale() == {}
    aside = sorted(Path("work_dirs/suite.replaced").glob("*/result.json"))
    assert [path.parent.name.split("-")[0] for path in aside] == ["det_mfm", "knn_mfm", "mfm", "seg_mfm"]
    downstream = json.loads(Path("work_dirs/suite/det_mfm-seed0/result.json").read_text())
    assert downstream["init"]["pretraining"]["run_id"] == after["run_id"]


def test_a_result_of_another_origin_is_set_aside(folder):
    Path("work_dirs/suite/det_random-seed0/job.json").unlink()
    assert stale() == {"det_random-seed0": "stale not made by this suite"}
    assert finish() == ["det_random-seed0"] and len(list(Path("work_dirs/suite.replaced").iterdir())) == 1


def test_a_record_without_metrics_is_not_done(folder):
    path = Path("work_dirs/suite/det_random-seed0/result.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": {}}))
    assert stale() == {"det_random-seed0": "begun"}


def test_a_foreign_checkpoint(folder):
    Path("mae.pth").write_text("one")
    edit("suite.py", "random=None", 'random=None, official=dict(checkpoint="mae.pth")')
    job = study().suite.jobs["det_official-seed0"]
    first = study().inputs.of(job, {})
    Path("mae.pth").write_text("two")
    second = study().inputs.of(job, {})
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


def test_folders_with_links(tmp_path):
    """A link to nothing ended the digest in a traceback; what lies behind a link was not in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data/lost.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "data")
    cache, place = StatCache(tmp_path / "cache.json"), str(tmp_path / "data")
    first = path_digest(place, cache)
    (tmp_path / "elsewhere/1.jpg").write_bytes(b"1")
    assert path_digest(place, cache) != first


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
    assert set(data_digests(names, "val", cache)) == both | {"ade/i", "ade/s"}
    assert set(data_digests(names, "test", cache)) == both | {"test"}


def test_a_broken_cache_counts_as_empty(tmp_path):
    (tmp_path / "cache.json").write_text('{"layout": 1')
    cache = StatCache(tmp_path / "cache.json")
    assert cache.get("key", lambda: (1, [])) == 1
    cache.save()
    assert StatCache(tmp_path / "cache.json").get("key", lambda: (2, [])) == 1


def test_plans_do_not_wait_for_torch():
    """A suite of a hundred jobs is looked at often; torch takes seconds to import."""
    code = ("import sys; import mimtransfer.suites.state, mimtransfer.suites.local, mimtransfer.suites.slurm; "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
