"""tools/transfer.py on a suite of 3 pretrainings x 3 tasks x 3 seeds, with tools that take no time."""
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from suite_toys import HELPERS, ROOT, checkout, run

from mimtransfer.suites.local import LocalRunner, command, find_devices
from mimtransfer.suites.state import Study

JOBS = 34  # the data, 3 x 2 pretrainings, and 3 x 3 x 3 transfers, one of the three from random init
WORK = Path("work_dirs/suite")


def start(*arguments, **env):
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{HELPERS}", "PYTHONUNBUFFERED": "1", **env}
    words = [sys.executable, "tools/transfer.py", "suite.py", *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                            start_new_session=True)  # fmt: skip


def call(*arguments, **env):
    process = start(*arguments, **env)
    return process.communicate(timeout=120)[0], process.returncode


def results():
    return {path.parent.name: path.read_text() for path in WORK.glob("*/result.json")}


def starts():
    return {path.parent.name: len(path.read_text().splitlines()) for path in WORK.glob("*/starts.txt")}


def kill_after(number, by, **env):
    """Call the tool, and end it when so many results are there and a moment has passed; return what it printed."""
    process = start(**env)
    while len(results()) < number:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(random.Random(number).uniform(0, 0.3))
    os.kill(process.pid, by)
    return process.communicate(timeout=60)[0], process.returncode


def reference():
    """Return the table of the same jobs, run one by one in this process, uninterrupted."""
    study = Study(Path.cwd(), "suite.py", work_dir="work_dirs/reference")
    for job in study.suite.jobs.values():
        if job.kind != "data":
            with study.started(job):
                assert run(study.inputs.tool(job), command(study, job)[2:]) == 0
    table = call("--work-dir", "work_dirs/reference", "--table")[0]
    assert call("--work-dir", "work_dirs/reference", "--table", "--format", "csv")[0].count("\nMAE,") == 1
    return table


def test_killed_twice_and_a_failing_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    plan, status = call("--plan")
    assert status == 0 and f"suite.py: {JOBS} jobs, 0 done, {JOBS} to run" in plan and not results()
    assert call("--table")[0] == "no table yet: no downstream job is done\n"

    slow = {"TOY_EPOCH": "0.03", "TOY_FAIL": "seg_mfm-seed1 mae-seed2"}
    kill_after(2, signal.SIGKILL, **slow)  # its children go on
    time.sleep(0.05)
    printed, status = kill_after(7, signal.SIGTERM, **slow)
    assert status == 128 + signal.SIGTERM
    assert len(results()) >= 7

    printed, status = call("--jobs", "3", TOY_FAIL=slow["TOY_FAIL"])
    lost = {"seg_mfm-seed1", "mae-seed2", "det_mae-seed2", "seg_mae-seed2", "knn_mae-seed2"}
    assert status == 1 and len(results()) == JOBS - 1 - len(lost)
    named = dict(line.removeprefix("FAILED ").split(": ", 1) for line in printed.splitlines() if line[:7] == "FAILED ")
    assert named == {name: f"{name} ran out of memory" for name in ("seg_mfm-seed1", "mae-seed2")} | {
        f"{task}_mae-seed2": "needs mae-seed2, which failed" for task in ("det", "seg", "knn")}
    assert "5 of 34 jobs have no result" in printed and "| MFM" in printed  # the table of the others
    assert "failed         ?  seg_mfm-seed1 ran out of memory" in call("--plan")[0]

    printed, status = call("--jobs", "3")
    assert status == 0 and len(results()) == JOBS - 1
    assert "[seg_mfm-seed1] started, tried again" in printed
    before, ran = results(), starts()
    printed, status = call()
    assert status == 0 and results() == before and starts() == ran and "started" not in printed
    table = printed[printed.index("\n\n") + 2 :]
    assert table.splitlines()[2:5] == reference().splitlines()[2:5]
    assert table == call("--table")[0]


def test_a_job_that_another_call_works_on(tmp_path, monkeypatch):
    """The second call waits for it, and does not run it again."""
    monkeypatch.chdir(checkout(tmp_path))
    assert call("--run-job", "list")[1] == 0
    study = Study(Path.cwd(), "suite.py")
    job = study.suite.jobs["mae-seed0"]
    with study.started(job):
        assert ["mae-seed0", "running"] in [line.split()[:2] for line in call("--plan")[0].splitlines()]
        assert call("--run-job", "mae-seed0") == ("error: mae-seed0 runs already; wait for it, or stop it\n", 2)
        second = start("--only", "mae-seed0")
        while "[mae-seed0] runs already" not in second.stdout.readline():
            pass
        assert run("pretrain", command(study, job)[2:]) == 0
    printed, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and starts() == {"mae-seed0": 1} and "started" not in printed


def test_whoever_is_stopped_stops_its_children(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    process = start("--only", "mae-seed0", TOY_EPOCH="60")
    while not Path(WORK, "mae-seed0/starts.txt").exists():
        time.sleep(0.02)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert ["mae-seed0", "begun"] in [line.split()[:2] for line in call("--plan", "--only", "mae*")[0].splitlines()]


def test_what_nohup_ignores_stays_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    study, handlers = Study(Path.cwd(), "suite.py", only=["list"]), []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    LocalRunner(study, [None], say=lambda line: handlers.append(signal.getsignal(signal.SIGHUP))).run()
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN
    assert handlers == [signal.SIG_IGN] * 2  # started, done


def test_one_job_at_a_time_as_other_schedulers_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    printed, _ = call("--commands", "--seeds", "0", "--only", "det_mae-seed0")
    lines = printed.splitlines()
    assert lines == [
        "# list", "python tools/transfer.py suite.py --seeds 0 --run-job list",
        "# mae-seed0, after list", "python tools/transfer.py suite.py --seeds 0 --run-job mae-seed0",
        "# det_mae-seed0, after list, mae-seed0", "python tools/transfer.py suite.py --seeds 0 --run-job det_mae-seed0",
    ]  # fmt: skip
    assert call("--run-job", "det_mae-seed0") == ("error: det_mae-seed0 needs list, which is new\n", 2)
    printed, _ = call("--run-job", "mea-seed0")
    assert printed.startswith("error: --run-job: suite.py has no job 'mea-seed0'; did you mean")
    for line in lines[1::2]:
        assert call(*line.split()[3:])[1] == 0
    assert set(results()) == {"mae-seed0", "det_mae-seed0"}
    assert call("--run-job", "det_mae-seed0")[0] == "[det_mae-seed0] is done\n"
    printed, status = call("--run-job", "mfm-seed0", TOY_FAIL="mfm-seed0")
    assert status == 2 and printed.startswith("error: mfm-seed0 failed: mfm-seed0 ran out of memory")


def test_gpus(tmp_path, monkeypatch):
    """One job on a GPU at a time; on the CPU one thread each."""
    monkeypatch.chdir(checkout(tmp_path))
    assert call("--devices", "3,5", "--only", "m*-seed?", TOY_EPOCH="0.05")[1] == 0
    assert call("--only", "det_random-seed0", CUDA_VISIBLE_DEVICES="")[1] == 0
    used = {path.parent.name: path.read_text().split()[:-1] for path in WORK.glob("*/starts.txt")}
    assert used.pop("det_random-seed0") == ["1"]  # CUDA_VISIBLE_DEVICES is empty, OMP_NUM_THREADS 1
    assert {device for device, *_ in used.values()} == {"3", "5"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,4")
    assert find_devices(None, None) == ["2", "4"] and find_devices("0", None) == ["0"]
    assert find_devices("cpu", 3) == [None] * 3
    Path("suite.py").write_text("pretrainings = dict(mae=dict(config='configs/mae.py', gpus=2))")
    assert call("--devices", "1")[0].endswith("error: mae-seed0 asks for 2 GPUs, there are 1; set gpus and the batch "
                                              "size\n")


def test_evaluation_of_a_trained_model_and_a_tokenizer(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    Path("suite.py").write_text("""
tokenizers = dict(codes=dict(config="configs/mae.py"))
pretrainings = dict(mae=dict(config="configs/mae.py", options={"model.codebook": "{codes}/codebook.json"}))
tasks = dict(det=dict(config="configs/det.py"), robust=dict(config="configs/knn.py", of="det"))
table = dict(metrics=["top1"], digits=2)
""")
    Path("data").mkdir()
    Path("data/list.txt").write_text("a")
    printed, status = call()
    assert status == 0 and "50.00" in printed
    assert json.loads(Path(WORK, "robust_mae-seed0/result.json").read_text())["label"] == "MAE"
    again, _ = call("--plan")
    assert "4 jobs, 4 done" in again and sum(starts().values()) == 4
    Path(WORK, "codes-seed0/codebook.json").write_text("{}")  # fitted again
    assert "codes-seed0 was made again" in call("--plan")[0]


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--plan", "--commands"]])
def test_bad_arguments(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(checkout(tmp_path))
    assert call(*arguments)[1] == 2
