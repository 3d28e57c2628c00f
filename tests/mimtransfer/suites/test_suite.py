"""From a suite file to jobs, and from a job to its command line."""
import sys
from pathlib import Path

import pytest
import torch
from suite_toys import checkout

from mimtransfer.cli.launch import load_config
from mimtransfer.cli.options import option_texts
from mimtransfer.errors import UserError
from mimtransfer.suites import plan
from mimtransfer.suites.local import command
from mimtransfer.suites.state import Study
from mimtransfer.suites.suite import load_suite

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
seeds = [0, 1]
data = dict(pictures=dict(command="python tools/make_data.py --out x", makes="data/list.txt"))
tokenizers = dict(codes=dict(config="configs/mae.py", seeds=[7], options={"features.from": "{mae}/epoch_2.pth"}))
pretrainings = dict(
    mapet=dict(config="configs/mfm.py", amp=True, compile=True, gpus=4,
               options={"model.tokenizer.codebook": "{codes}/codebook.pth", "model.sizes": [1, 2],
                        "model.files": ["{codes}/a", "b"]}),
    mae=dict(config="configs/mae.py", seeds=[5]),
    official=dict(checkpoint="files/mae.pth"),
    random=None,
)
tasks = dict(
    robust=dict(config="configs/knn.py", of="det", seeds=[1]),
    det=dict(config="configs/det.py", skip=["official"], slurm=dict(timeout_min=60)),
    knn=dict(config="configs/knn.py", only=["official", "random"], seeds=[0], amp=True),
)
slurm = dict(slurm_partition="gpu")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    Path("study.py").write_text(SUITE)
    return tmp_path


def test_jobs_and_their_order(folder):
    suite = load_suite("study.py")
    names = list(suite.jobs)
    assert set(names) == {
        "pictures", "codes-seed7", "mapet-seed0", "mapet-seed1", "mae-seed5",
        "det_mapet-seed0", "det_mapet-seed1", "det_mae-seed0", "det_mae-seed1", "det_random-seed0", "det_random-seed1",
        "knn_official-seed0", "knn_random-seed0",
        "robust_mapet-seed1", "robust_mae-seed1", "robust_random-seed1",
    }  # fmt: skip
    for name, job in suite.jobs.items():
        assert all(names.index(other) < names.index(name) for other in job.after)
    after = {name: set(job.after) - {"pictures"} for name, job in suite.jobs.items()}
    assert after["codes-seed7"] == {"mae-seed5"} and after["mapet-seed1"] == {"codes-seed7"}
    assert after["det_mapet-seed1"] == {"mapet-seed1"} and after["det_mae-seed0"] == {"mae-seed5"}  # its only seed
    assert after["robust_mae-seed1"] == {"det_mae-seed1"} and after["knn_official-seed0"] == set()
    assert all("pictures" in job.after for name, job in suite.jobs.items() if name != "pictures")
    assert suite.jobs["det_mae-seed0"].slurm == {"slurm_partition": "gpu", "timeout_min": 60}
    assert suite.work_dir == Path("work_dirs/study")


def test_seeds_of_the_caller_and_a_choice_of_jobs(folder):
    suite = load_suite("study.py", seeds=[3], work_dir="elsewhere")
    assert "det_mapet-seed3" in suite.jobs and "det_mapet-seed0" not in suite.jobs
    assert suite.folder("mae-seed5") == Path("elsewhere/mae-seed5")
    chosen = load_suite("study.py").only(["robust_mapet*"])
    assert set(chosen.jobs) == {"pictures", "mae-seed5", "codes-seed7", "mapet-seed1", "det_mapet-seed1",
                                 "robust_mapet-seed1"}
    with pytest.raises(UserError, match="no job matches 'robust_mapets-seed1'; did you mean 'robust_mapet-seed1'"):
        load_suite("study.py").only(["robust_mapets-seed1"])


def test_command_lines(folder):
    study = Study(folder, "study.py")
    det = Path("work_dirs/study/det_mapet-seed1")
    det.mkdir(parents=True)
    torch.save(dict(meta={}, state_dict={}), det / "epoch_2.pth")
    (det / "last_checkpoint").write_text("/on/another/machine/epoch_2.pth")
    lines = {name: " ".join(command(study, study.suite.jobs[name])) for name in (
        "pictures", "codes-seed7", "mapet-seed1", "mae-seed5", "det_mapet-seed1", "det_random-seed0",
        "knn_official-seed0", "robust_mapet-seed1")}
    python, tools, work = sys.executable, f"{sys.executable} {folder}/tools", "--work-dir work_dirs/study"
    assert lines == {
        "pictures": f"{python} tools/make_data.py --out x",
        "codes-seed7": f"{tools}/fit_tokenizer.py configs/mae.py {work}/codes-seed7 --seed 7 "
                       "--cfg-options features.from=work_dirs/study/mae-seed5/epoch_2.pth",
        "mapet-seed1": f"{python} -m torch.distributed.run --standalone --nproc_per_node=4 {folder}/tools/pretrain.py "
                       f"configs/mfm.py --launcher pytorch {work}/mapet-seed1 --resume --seed 1 --amp --compile "
                       "--cfg-options model.tokenizer.codebook=work_dirs/study/codes-seed7/codebook.pth "
                       "model.sizes=[1,2] model.files=[work_dirs/study/codes-seed7/a,b]",
        "mae-seed5": f"{tools}/pretrain.py configs/mae.py {work}/mae-seed5 --resume --seed 5",
        "det_mapet-seed1": f"{tools}/train.py configs/det.py {work}/det_mapet-seed1 --resume --seed 1 "
                           "--pretrained work_dirs/study/mapet-seed1",
        "det_random-seed0": f"{tools}/train.py configs/det.py {work}/det_random-seed0 --resume --seed 0",
        "knn_official-seed0": f"{tools}/test.py configs/knn.py {work}/knn_official-seed0 --seed 0 "
                              "--pretrained files/mae.pth --amp",
        "robust_mapet-seed1": f"{tools}/test.py configs/knn.py work_dirs/study/det_mapet-seed1/epoch_2.pth "
                              f"{work}/robust_mapet-seed1",
    }  # fmt: skip


@pytest.mark.parametrize(("line", "message"), [
    ("task = dict()", "unknown variable 'task'; did you mean 'tasks'"),
    ("tasks['det']['confg'] = 1", "tasks['det']: unknown field 'confg'; did you mean 'config'"),
    ("del tasks['det']['config']", "tasks['det'] lacks 'config'"),
    ("tasks['det']['only'] = ['mea']", "task 'det' names the pretraining 'mea'; did you mean 'mae'"),
    ("tasks['robust']['of'] = 'dot'", "task 'robust' is of 'dot', which trains nothing; did you mean 'det'"),
    ("tasks['det']['seeds'] = [2, 3]", "robust_mapet-seed1 needs 'det_mapet' of seed 1, which has the seeds 2, 3"),
    ("pretrainings['mae']['seeds'] = [5, 6]", "needs 'mae' of seed 7, which has the seeds 5, 6"),
    ("pretrainings['mapet']['options']['x'] = '{cods}'", "needs 'cods' of seed 0, which is nothing here; did you mean "
                                                        "'codes'"),
    ("pretrainings['codes'] = None", "two entries are called 'codes'"),
    ("pretrainings['a/b'] = None", "pretrainings['a/b']: a name is made of letters"),
    ("pretrainings['official']['config'] = 'x'", "has a config and a checkpoint"),
    ("pretrainings['mae']['options'] = {'a': '{mapet}'}; pretrainings['mae']['seeds'] = [0, 1]; "
     "tokenizers['codes']['seeds'] = [0]", "need each other"),
])
def test_mistakes_in_a_suite_file(line, message, folder):
    Path("study.py").write_text(f"{SUITE}\n{line}\n")
    with pytest.raises(UserError) as error:
        load_suite("study.py")
    assert message in str(error.value) and str(error.value).startswith("study.py: ")
    assert "\n" not in str(error.value)


def test_no_such_file(folder):
    with pytest.raises(UserError, match=r"suite 'stdy\.py' does not exist; did you mean 'study\.py'"):
        load_suite("stdy.py")


@pytest.mark.parametrize(("name", "text", "message"), [
    ("README.md", "# title\n", "suite 'README.md' is no Python file"),
    ("torn.py", "seeds = [0]\ntasks = dict(\n", "suite 'torn.py', line 2: '(' was never closed"),
    ("mae.py", "_base_ = ['base.py']\nseeds = [0]\nmodel = _base_.vit\n",
     "suite 'mae.py', line 3: AttributeError: 'list' object has no attribute 'vit'"),
    ("far.py", "import re\n\n_name = re.compile('(')\n", "suite 'far.py', line 3: "),
])
def test_files_that_are_no_suites(name, text, message, folder):
    Path(name).write_text(text)
    with pytest.raises(UserError) as error:
        load_suite(name)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_quick_demo():
    suite = load_suite(str(ROOT / "configs/suites/demo-quick.py"))
    assert set(suite.jobs) == {"scenes", "mae-seed0", "det_mae-seed0", "det_random-seed0", "seg_mae-seed0",
                               "seg_random-seed0"}
    assert all(job.options for job in suite.jobs.values() if job.kind != "data")
    # Nobody is to take its table, where random weights may be the best row, for the demo's.
    tasks = [job for job in suite.jobs.values() if job.kind == "transfer"]
    assert all(", quick" in job.options["protocol"] for job in tasks)
    assert "too short for a gain" in suite.table["title"] and "too short for a gain" in suite.table["note"]


def test_the_demo():
    """The runs of `make demo`: two pretrainings, and detection and segmentation from them and from nothing."""
    suite = load_suite(str(ROOT / "configs/suites/demo.py"))
    assert set(suite.jobs) == {"scenes", "mae-seed0", "mae_famt-seed0"} | {
        f"{task}_{start}-seed0" for task in ("det", "seg") for start in ("mae", "mae_famt", "random")}
    assert all((ROOT / job.config).is_file() for job in suite.jobs.values() if job.config)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/suites/*.py")), ids=lambda path: path.stem)
def test_every_shipped_suite_can_be_planned_where_nothing_is_yet(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = Study(ROOT, str(path), work_dir=str(tmp_path / "runs/suite"))  # it reads the records in `runs`
    jobs, text = study.suite.jobs, plan.plan(study, study.states(), 1, full=True)
    # Data of other runs may lie in data/ already.
    made = sum(job.kind == "data" and (ROOT / job.makes).exists() for job in jobs.values())
    assert f"{path}: {len(jobs)} jobs, {made} done, {len(jobs) - made} to run" in text
    for job in {(job.config, *job.options): job for job in jobs.values() if job.config}.values():
        load_config(job.config, option_texts(job.options))  # raises on keys that nobody knows


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/suites/*.py")), ids=lambda path: path.stem)
def test_seeds_of_a_shipped_pretraining_share_the_codebook(path):
    """To the table runs with other codebooks are other pretrainings: each seed would be a row of its own."""
    jobs = load_suite(str(path), seeds=[0, 1, 2]).jobs
    used: dict[str, list[list[str]]] = {}
    for job in (job for job in jobs.values() if job.kind == "pretrain"):
        codebooks = [name for name in job.after if jobs[name].kind == "tokenizer"]
        used.setdefault(job.name.rpartition("-seed")[0], []).append(codebooks)
    assert all(one == every[0] for every in used.values() for one in every)



def test_the_one_codebook_is_the_same_whatever_seeds_are_asked_for():
    path = str(ROOT / "configs/suites/cifar10.py")
    for seeds in ([0], [1], [1, 2], [5]):
        jobs = load_suite(path, seeds=seeds).jobs
        assert {name for name, job in jobs.items() if job.kind == "tokenizer"} == {"codes-seed0"}
        assert jobs["codes-seed0"].after == ("mae-seed0",)
        assert [name for name in jobs if name.startswith("knn_mae-")] == [f"knn_mae-seed{seed}" for seed in seeds]
        mae = [f"mae-seed{seed}" for seed in sorted({0, *seeds})]
        assert sorted(name for name in jobs if name.startswith("mae-")) == mae


def test_data_are_made_one_after_the_other(folder):
    """The second command may read what the first has made."""
    Path("study.py").write_text(f"{SUITE}\ndata['crops'] = dict(command='python crops.py', makes='x')\n")
    jobs = load_suite("study.py").jobs
    assert jobs["crops"].after == ("pictures",) and jobs["mae-seed5"].after == ("pictures", "crops")
    assert set(load_suite("study.py").only(["crops"]).jobs) == {"pictures", "crops"}
