"""Run jobs on this machine: one on a GPU at a time, or a few one-thread processes on the CPU."""
from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimtransfer.cli.options import option_texts
from mimtransfer.errors import UserError
from mimtransfer.results.closing import duration
from mimtransfer.suites.state import OUTPUT_FILE, Study
from mimtransfer.suites.suite import Job, fill

# What of a run's log is worth a line on the screen; all of it is in output.txt of its work dir.
_PROGRESS = re.compile(r"^[0-9/]+ ([0-9:]+) - mmengine - [A-Z]+ - ((?:Epoch|Iter)\(.*|result written.*|resumed.*)")


def command(study: Study, job: Job) -> list[str]:
    """Return the command that runs a job, or resumes it, in the folder where the suite was started.

    Raises:
        UserError: the checkpoint of a model that is to be tested is gone.
    """
    if job.kind == "data":
        words = shlex.split(job.command)
        if words[0] not in ("python", "python3"):
            return words
        script = Path(study.inputs.root, *words[1:2])  # a suite that is shipped names a tool as a checkout has it
        if words[1:] and words[1].startswith("tools/") and not os.path.exists(words[1]) and script.is_file():
            words[1] = str(script)
        return [sys.executable, *words[1:]]
    tool, folder = study.inputs.tool(job), study.suite.folder(job.name)
    words = [sys.executable, str(Path(study.inputs.root, "tools", f"{tool}.py")), job.config]
    if job.gpus > 1:
        several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={job.gpus}"]
        words = [words[0], *several, *words[1:], "--launcher", "pytorch"]
    if job.of is not None:
        from mimtransfer.checkpoints.newest import newest_checkpoint  # torch, which a plan does not need

        checkpoint = newest_checkpoint(study.suite.folder(job.of))
        if checkpoint is None:
            raise UserError(f"{job.name}: {study.suite.folder(job.of)} holds no checkpoint to test; remove its "
                            "result.json to train again")
        words.append(str(checkpoint))
    words += ["--work-dir", str(folder)]
    if tool in ("pretrain", "train"):
        words.append("--resume")
    if job.of is None:  # a trained model's protocol and seed are its own
        words += ["--seed", str(job.seed)]
    if job.start is not None:
        words += ["--pretrained", str(study.suite.folder(job.start)) if job.start in job.after else job.start]
    words += ["--amp"] * job.amp + ["--compile"] * job.compile
    if job.options:
        filled = {key: fill(value, lambda name: str(study.suite.folder(name))) for key, value in job.options.items()}
        words += ["--cfg-options", *option_texts(filled)]
    return words


def job_command(suite: str, arguments: list[str], name: str, root: Path) -> str:
    """Return the shell command that runs one job with its book-keeping, for a scheduler of any kind."""
    return shlex.join(["python", str(Path(root, "tools", "transfer.py")), suite, *arguments, "--run-job", name])


def find_devices(asked: str | None, jobs: int | None) -> list[str | None]:
    """Return what can run a job each: numbers of GPUs, or None for a process on the CPU.

    Args:
        asked: `0,1` for these GPUs, `cpu`, or None for all GPUs that are visible, else the CPU.
        jobs: processes at a time on the CPU; two, or one on a single core, by default.
    """
    if asked is None:
        asked = os.environ.get("CUDA_VISIBLE_DEVICES")
        if asked is None and shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
            listed = subprocess.run(query, capture_output=True, text=True, check=False)
            # Without a driver it prints an error, with status 0 or not.
            numbers = [line.strip() for line in listed.stdout.splitlines() if line.strip().isdigit()]
            asked = ",".join(numbers) if listed.returncode == 0 else None
    if asked and asked != "cpu":
        if jobs is not None:
            raise UserError("--jobs is for the CPU; a GPU runs one job at a time: choose GPUs with --devices 0,1")
        return list(asked.split(","))
    return [None] * (jobs or min(2, os.cpu_count() or 1))


@dataclass
class _Run:
    job: Job
    process: subprocess.Popen
    devices: list[str | None]
    began: float
    shown: int  # bytes of its output that the screen has seen


class LocalRunner:
    """Run the jobs that are not done, in their order, as soon as what they need is done and a device is free.

    A job that fails stops only those that need it. When this process is asked to stop it stops its children; when it
    is killed they end what they began, and the next call waits for them.

    Args:
        say: called with each line for the screen.
        pause: longest time between looks at the children, in seconds.
    """

    def __init__(
        self, study: Study, devices: list[str | None], say: Callable[[str], None] = print, pause: float = 0.2
    ) -> None:
        self.study, self.free, self.say, self.pause = study, list(devices), say, pause
        self.failures: dict[str, str] = {}
        self._running: list[_Run] = []
        self._elsewhere: set[str] = set()

    def run(self) -> dict[str, str]:
        """Return name -> reason of the jobs that failed, or cannot run because another has failed."""
        jobs = self.study.suite.jobs
        self._check_devices()
        done: set[str] = set()
        pending = list(jobs.values())
        try:
            while pending or self._running:
                for job in list(pending):
                    broken = [name for name in job.after if name in self.failures]
                    if broken:
                        self.failures[job.name] = f"needs {broken[0]}, which failed"
                        pending.remove(job)
                    elif done.issuperset(job.after) and self._begin(job, done):
                        pending.remove(job)
                self._rest(bool(pending))
                done |= self._collect()
        finally:
            end_processes([run.process for run in self._running])
        return self.failures

    def _check_devices(self) -> None:
        for job in self.study.suite.jobs.values():
            if job.gpus > max(1, sum(device is not None for device in self.free)):
                raise UserError(f"{job.name} asks for {job.gpus} GPUs, there are "
                                f"{sum(device is not None for device in self.free)}; set gpus and the batch size")

    def _begin(self, job: Job, done: set[str]) -> bool:
        """Start a job, or find it done; False when it has to wait."""
        state = self.study.state(job)
        if state.name == "done":
            done.add(job.name)
            return True
        if state.name == "running":
            if job.name not in self._elsewhere:
                self.say(f"[{job.name}] runs already, started by another call: waiting for it")
                self._elsewhere.add(job.name)
            return False
        if state.name == "missing":
            self._fail(job, state.why)
            return True
        if len(self.free) < job.gpus:
            return False
        with self.study.started(job) as lock:
            if lock is None:
                return False
            try:
                words = command(self.study, job)
            except UserError as error:
                self._fail(job, str(error))
                return True
            devices = [self.free.pop(0) for _ in range(job.gpus)]
            output = self.study.suite.folder(job.name) / OUTPUT_FILE
            shown = output.stat().st_size if output.exists() else 0
            with open(output, "ab") as file:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, pass_fds=(lock,),
                    env=environment(devices), start_new_session=True,
                )  # fmt: skip
        again = {"begun": ", resumed", "failed": ", tried again", "stale": f", made again: {state.why}"}
        self.say(f"[{job.name}] started{again.get(state.name, '')}")
        self._running.append(_Run(job, process, devices, time.monotonic(), shown))
        return True

    def _rest(self, pending: bool) -> None:
        """Wait until the child that began first has ended, at most so long as there is between two looks."""
        if self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[0].process.wait(self.pause)
        elif pending:
            time.sleep(self.pause)

    def _collect(self) -> set[str]:
        """Show what the children wrote, and return the jobs that have been done since."""
        done = set()
        for run in list(self._running):
            status = run.process.poll()
            self._show(run)
            if status is None:
                continue
            self._running.remove(run)
            self.free = [*run.devices, *self.free]
            if status == 0 and self.study.is_done(run.job):
                done.add(run.job.name)
                self.say(f"[{run.job.name}] done in {duration(time.monotonic() - run.began)}")
            else:
                self._fail(run.job, self.study.failed(run.job, status))
        return done

    def _show(self, run: _Run) -> None:
        path = self.study.suite.folder(run.job.name) / OUTPUT_FILE
        if not path.exists():  # set aside by hand
            return
        with open(path, "rb") as file:
            file.seek(run.shown)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        run.shown += whole
        for line in text[:whole].decode(errors="replace").splitlines():
            if found := _PROGRESS.match(line):
                self.say(f"{found.group(1)} [{run.job.name}] {found.group(2)}")

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.name] = reason
        output = self.study.suite.folder(job.name) / OUTPUT_FILE
        self.say(f"[{job.name}] FAILED: {reason}" + (f"  (all of it: {output})" if output.exists() else ""))


def run_here(study: Study, job: Job) -> None:
    """Run one job in the foreground, with whatever devices this process sees.

    Raises:
        UserError: what it needs is not done, another process has it, or it fails.
    """
    states = study.states()
    for name in job.after:
        state = states[name]
        if state.name != "done":
            raise UserError(f"{job.name} needs {name}, which is {state.name}{': ' + state.why if state.why else ''}")
    if states[job.name].name == "done":
        print(f"[{job.name}] is done")
        return
    if states[job.name].name == "missing":
        raise UserError(f"{job.name}: {states[job.name].why}")
    with study.started(job) as lock:
        if lock is None:
            raise UserError(f"{job.name} runs already; wait for it, or stop it")
        output = Path(study.suite.folder(job.name), OUTPUT_FILE)
        with open(output, "ab") as file:
            # Slurm tells a job by this signal that it will be requeued; the tool has no ears for it and would end.
            process = subprocess.run(
                command(study, job), stdout=file, stderr=subprocess.STDOUT, pass_fds=(lock,), check=False,
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            )  # fmt: skip
        if process.returncode or not study.is_done(job):
            raise UserError(f"{job.name} failed: {study.failed(job, process.returncode)}  (all of it: {output})")
    print(f"[{job.name}] done")


def environment(devices: list[str | None]) -> dict[str, str]:
    """Return the environment of a run on these devices: those GPUs, or one thread of the CPU."""
    env = {**os.environ, "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore")}
    env["CUDA_VISIBLE_DEVICES"] = ",".join(device for device in devices if device is not None)
    return env if env["CUDA_VISIBLE_DEVICES"] else {**env, "OMP_NUM_THREADS": "1"}


def end_processes(processes: Sequence[subprocess.Popen]) -> None:
    """End processes, each the first of a session, and all that they started; they have 10 seconds to do it themselves.
    """
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    end = time.monotonic() + 10
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        _signal_group(process, signal.SIGKILL)  # its loader workers, too
        process.wait()


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
