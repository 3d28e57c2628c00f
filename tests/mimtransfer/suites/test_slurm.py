"""What is handed to Slurm, by the scripts that submitit writes; and submitit's local and debug executors."""
import json
import os
import re
import sys
from pathlib import Path

import pytest
import submitit
from suite_toys import HELPERS, ROOT, checkout

from mimtransfer.errors import UserError
from mimtransfer.suites.slurm import QueuedJob, submit
from mimtransfer.suites.state import Study

SUITE = """
seeds = [0, 1]
data = dict(list=dict(command="python tools/make_data.py", makes="data/list.txt"))
pretrainings = dict(mae=dict(config="configs/mae.py", gpus=4, slurm=dict(timeout_min=4000)),
                    mfm=dict(config="configs/mfm.py", slurm=dict(timeout_min=4000)), random=None)
tasks = dict(det=dict(config="configs/det.py"), knn=dict(config="configs/knn.py", seeds=[0]))
slurm = dict(slurm_partition="gpu", mem_gb=32, slurm_array_parallelism=8)
"""
# Numbers jobs from 100 and keeps the scripts; squeue and sacct know the jobs of running.txt.
SBATCH = """#!/bin/sh
number=$((100 + $(ls {folder}/submitted | wc -l)))
cp "$1" {folder}/submitted/$number.sh
echo Submitted batch job $number
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
cat {folder}/running.txt
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A toy checkout, with a cluster that only takes notes."""
    monkeypatch.chdir(checkout(tmp_path))
    Path("study.py").write_text(SUITE)
    for name in ("bin", "submitted"):
        Path(name).mkdir()
    Path("running.txt").write_text("")
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "srun": "#!/bin/sh\n"}.items():
        Path("bin", name).write_text(text.format(folder=tmp_path))
        Path("bin", name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{HELPERS}")
    yield tmp_path
    submitit.SlurmJob.watcher.clear()


def hand_in(folder, cluster, lines=None, **options):
    study = Study(folder, "study.py", **options)
    return submit(study, study.states(), lambda name: QueuedJob(folder, "study.py", options, name), cluster,
                  (lines if lines is not None else []).append)


def scripts():
    """Return job -> the options of its script."""
    found = {}
    for path in sorted(Path("submitted").iterdir()):
        found[path.stem] = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", path.read_text(), flags=re.MULTILINE))
    return found


def test_scripts(folder):
    lines = []
    jobs = hand_in(folder, "slurm", lines)
    assert jobs == {
        "list": "100", "mae-seed0": "101_0", "mae-seed1": "101_1", "mfm-seed0": "102_0", "mfm-seed1": "102_1",
        "det_random-seed0": "103_0", "det_random-seed1": "103_1", "knn_random-seed0": "103_2",
        "det_mae-seed0": "104_0", "knn_mae-seed0": "104_1", "det_mae-seed1": "105",
        "det_mfm-seed0": "106_0", "knn_mfm-seed0": "106_1", "det_mfm-seed1": "107",
    }  # fmt: skip
    found = scripts()
    dependencies = {number: options.get("dependency") for number, options in found.items()}
    assert dependencies == {
        "100": None, "101": "afterok:100", "102": "afterok:100", "103": "afterok:100",
        "104": "afterok:100:101_0", "105": "afterok:100:101_1", "106": "afterok:100:102_0", "107": "afterok:100:102_1",
    }  # fmt: skip
    assert {number: options.get("array") for number, options in found.items()} == {
        "100": None, "101": "0-1%2", "102": "0-1%2", "103": "0-2%3", "104": "0-1%2", "105": None, "106": "0-1%2",
        "107": None}  # fmt: skip
    jobs_folder = folder / "work_dirs/study/slurm/jobs"
    assert found["101"] == {
        "job-name": "pretrain-2", "array": "0-1%2", "partition": "gpu", "time": "4000", "mem": "32GB", "nodes": "1",
        "ntasks-per-node": "1", "gpus-per-node": "4", "cpus-per-task": "32", "dependency": "afterok:100",
        "kill-on-invalid-dep": "yes", "signal": "USR2@90", "open-mode": "append", "wckey": "submitit",
        "output": str(jobs_folder / "%A_%a/%A_%a_0_log.out"), "error": str(jobs_folder / "%A_%a/%A_%a_0_log.err"),
    }  # fmt: skip
    assert found["100"]["gpus-per-node"] == "0" and found["105"]["time"] == "1440"
    text = Path("submitted/104.sh").read_text()
    assert f"srun --unbuffered --output {jobs_folder}/%A_%a/%A_%a_%t_log.out" in text
    assert f"{sys.executable} -u -m submitit.core._submit" in text
    assert lines[4] == "104: det_mae-seed0, knn_mae-seed0  after list, mae-seed0"


def test_what_is_queued_is_not_submitted_again(folder):
    jobs = hand_in(folder, "slurm")
    Path("running.txt").write_text("".join(f"{job}|RUNNING|n1\n" for job in jobs.values()))
    submitit.SlurmJob.watcher.clear()
    assert hand_in(folder, "slurm") == jobs and len(scripts()) == 8
    Path("running.txt").write_text("")  # the accounting lags behind
    submitit.SlurmJob.watcher.clear()
    assert hand_in(folder, "slurm") == jobs and len(scripts()) == 8
    os.utime("work_dirs/study/slurm/jobs.json", (0, 0))  # and, an hour later, has forgotten them
    submitit.SlurmJob.watcher.clear()
    assert set(hand_in(folder, "slurm")) == set(jobs) and len(scripts()) == 16


def test_cancelled_jobs_are_submitted_again(folder):
    jobs = hand_in(folder, "slurm")
    # Jobs of a task were cancelled: they come again, and wait for what is still in the queue.
    gone = {name for name in jobs if name.startswith("det_mae")}
    states = {job: "CANCELLED by 1000" if name in gone else "PENDING" for name, job in jobs.items()}
    Path("running.txt").write_text("".join(f"{job}|{state}|n1\n" for job, state in states.items()))
    submitit.SlurmJob.watcher.clear()
    again = hand_in(folder, "slurm")
    assert {name for name in jobs if jobs[name] != again[name]} == gone and len(scripts()) == 10
    assert [options["dependency"] for options in list(scripts().values())[8:]] == [
        "afterok:100:101_0", "afterok:100:101_1"]


def test_a_requeued_job_is_the_same_job(folder):
    job = QueuedJob(folder, "study.py", {"seeds": [0]}, "mae-seed0")
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission) and again.function is job


def test_a_setting_that_slurm_does_not_know(folder):
    Path("study.py").write_text(SUITE.replace("slurm_partition", "slurm_partitoin"))
    with pytest.raises(UserError, match=r"slurm settings of list: .*slurm_partitoin"):
        hand_in(folder, "slurm")


def finished(folder):
    return {path.parent.name for path in Path("work_dirs/study").glob("*/result.json")}


def test_submitits_debug_executor(folder, monkeypatch):
    """Jobs run in this process's children; a second call has nothing to submit."""
    lines = []
    options = {"seeds": [0], "only": ["det_mfm-seed0", "knn_random*"]}
    jobs = hand_in(folder, "debug", lines, **options)
    assert finished(folder) == {"mfm-seed0", "det_mfm-seed0", "knn_random-seed0"} and set(jobs) == {
        "list", *finished(folder)}
    assert all(line.endswith("done") for line in lines) and len(lines) == 4
    again = []
    assert hand_in(folder, "debug", again, **options) == {} and again == []


def test_submitits_local_executor(folder, monkeypatch):
    """A failing pretraining is named, and so is what needs it."""
    monkeypatch.setenv("TOY_FAIL", "mfm-seed0")
    lines = []
    hand_in(folder, "local", lines, seeds=[0], only=["det_mfm-seed0"])
    assert finished(folder) == set()
    said = dict(line.partition(": ")[2].split(" ", 1) for line in lines)
    assert said["mfm-seed0"].startswith("mfm-seed0 failed: mfm-seed0 ran out of memory")
    assert said["det_mfm-seed0"] == "det_mfm-seed0 needs mfm-seed0, which is failed: mfm-seed0 ran out of memory"
    assert said["list"] == "done"
    about = json.loads(Path("work_dirs/study/mfm-seed0/job.json").read_text())
    assert about["failed"] == "mfm-seed0 ran out of memory"
