"""tools/launch: what the scripts start, with torchrun, srun and scontrol replaced by recorders."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "tools/launch"
SLURM = dict(SLURM_SUBMIT_DIR=str(ROOT), SLURM_JOB_NUM_NODES="2", SLURM_GPUS_ON_NODE="4", SLURM_JOB_ID="20007",
             SLURM_JOB_NODELIST="gpu[3-4]", SLURM_NODEID="1", SETUP="export FROM_SETUP=yes")


@pytest.fixture
def call(tmp_path):
    """Run a script with recorders in front of PATH; return status, the words of the python call, stderr."""
    recorders = {
        "python": f'printf "%s\\n" "$@" "${{FROM_SETUP:-}}" > {tmp_path}/words; exit ${{FAIL:-0}}',
        "nvidia-smi": "printf 'GPU 0\\nGPU 1\\nGPU 2\\n'",
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol.log; [ "$2" != hostnames ] || printf "gpu3\\ngpu4\\n"',
        "srun": 'shift; "$@"',
    }
    for name, body in recorders.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def run(script, *args, **env):
        ours = ("GPUS", "NODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if name not in ours}
        clean |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", **env}
        done = subprocess.run([str(LAUNCH / script), *args], env=clean, capture_output=True, text=True, timeout=20)
        words = tmp_path / "words"
        return done.returncode, words.read_text().splitlines() if words.exists() else None, done.stderr

    return run


def options(words):
    """Return torchrun's options and what follows them."""
    place = next(i for i, word in enumerate(words) if word.startswith(str(ROOT)))
    pairs = words[2:place]
    return dict(zip(pairs[::2], pairs[1::2])), words[place:]


def test_torchrun_takes_all_gpus_of_this_machine(call):
    status, words, _ = call("torchrun.sh", "train", "a config.py", "--amp")
    assert status == 0 and words[:2] == ["-m", "torch.distributed.run"]
    found, rest = options(words)
    assert found == {"--nnodes": "1", "--node-rank": "0", "--nproc-per-node": "3", "--master-addr": "127.0.0.1",
                     "--master-port": "29500"}
    assert rest == [f"{ROOT}/tools/train.py", "a config.py", "--amp", "--launcher", "pytorch", ""]


def test_torchrun_on_one_of_several_machines(call):
    _, words, _ = call("torchrun.sh", "pretrain", "c.py", GPUS="8", NODES="4", NODE_RANK="2", MASTER_ADDR="head")
    found, _ = options(words)
    assert [found[key] for key in ("--nnodes", "--node-rank", "--nproc-per-node", "--master-addr")] == [
        "4", "2", "8", "head"]


def test_slurm_starts_one_torchrun_a_node_and_resumes(call):
    status, words, error = call("slurm.sh", "train", "a config.py", "--work-dir", "w", **SLURM)
    assert status == 0, error
    found, rest = options(words)
    assert found == {"--nnodes": "2", "--node-rank": "1", "--nproc-per-node": "4", "--master-addr": "gpu3",
                     "--master-port": "20007"}
    assert rest[1:] == ["a config.py", "--work-dir", "w", "--resume", "--launcher", "pytorch", "yes"]


def test_slurm_does_not_resume_a_test_and_passes_failures_on(call):
    status, words, _ = call("slurm.sh", "test", "c.py", "epoch_1.pth", FAIL="3", **SLURM)
    assert status == 3 and "--resume" not in words


def test_slurm_requeues_when_the_time_is_almost_up(call, tmp_path):
    (tmp_path / "srun").write_text("#!/usr/bin/env bash\nkill -USR1 $PPID\nexec sleep 10\n")
    status, words, error = call("slurm.sh", "train", "c.py", **SLURM)
    assert (status, words) == (0, None) and "requeued" in error
    assert (tmp_path / "scontrol.log").read_text().splitlines()[-1] == "requeue 20007"


@pytest.mark.parametrize("script, args, text", [
    ("torchrun.sh", [], "torchrun.sh TOOL ARGUMENTS"), ("torchrun.sh", ["tain", "c.py"], "no tool tain"),
    ("slurm.sh", ["train"], "slurm.sh TOOL ARGUMENTS"),
])
def test_wrong_calls(call, script, args, text):
    status, words, error = call(script, *args, **SLURM)
    assert status == 2 and words is None and text in error


def test_slurm_outside_a_checkout(call, tmp_path):
    status, _, error = call("slurm.sh", "train", "c.py", **{**SLURM, "SLURM_SUBMIT_DIR": str(tmp_path)})
    assert status == 2 and "is no checkout" in error


@pytest.mark.parametrize("body", [
    "exit 127", "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9",
    "echo 'No devices were found'",
])
def test_an_error_of_nvidia_smi_is_no_gpu(call, tmp_path, body):
    (tmp_path / "nvidia-smi").write_text(f"#!/usr/bin/env bash\n{body}\n")
    status, words, _ = call("torchrun.sh", "train", "a.py")
    assert status == 0 and options(words)[0]["--nproc-per-node"] == "1"
