"""Pretrain contenders in turns, so that they share the machine alike, and evaluate the encoder at marks on the way.

A turn is a process of tools/pretrain.py that resumes a run, trains some epochs and ends (`MarkHook`); then the marks
that it reached are evaluated, outside of the time that counts. Jobs, their states and locks are those of the suite.
"""
from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.suites.curves import evaluations, progress, rank, reached, runs, settings
from mimtransfer.suites.local import command, end_processes, environment
from mimtransfer.suites.state import OUTPUT_FILE, Study
from mimtransfer.suites.suite import Job

_LEAF = """# Written by tools/time_to_accuracy.py: a config of the suite, with marks.
_base_ = [{base!r}]
custom_hooks = [*_base_.custom_hooks, dict(type="pretrain.benchmarks.marks.MarkHook", **{marks!r})]
default_hooks = dict(checkpoint=dict(interval={interval!r}, max_keep_ckpts=2))
"""


def run_command(words: Sequence[str], output: Path, env: Mapping[str, str], locks: Sequence[int]) -> int:
    """Run a command to its end and return its status; when this process is stopped, so is the command.

    Args:
        output: what it prints is appended there.
        locks: file descriptors that it inherits: killed by force, this process leaves the job locked.
    """
    with open(output, "ab") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env,
                                   pass_fds=tuple(locks), start_new_session=True)  # fmt: skip
    try:
        return process.wait()
    finally:
        end_processes([process])


class Turns:
    """Train and evaluate what is missing; two calls at once share the work.

    Args:
        device: number of a GPU, or None for one thread of the CPU.
        call: what runs a command, see `run_command`.
        only: names of runs, or shell patterns; no others are trained now.
        say: called with each line for the screen.

    Raises:
        UserError: a pattern that matches no run, a config that is not there, or options that would take the marks away.
    """

    def __init__(self, study: Study, device: str | None = None, call: Callable[..., int] | None = None,
                 only: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
        self.study, self.call, self.say = study, call or run_command, say
        names = [run.name for run in runs(study)]
        for pattern in only:
            if not fnmatch.filter(names, pattern):
                raise UserError(f"--only {pattern!r} matches no run; they are {', '.join(names)}")
        self.names = {name for pattern in only for name in fnmatch.filter(names, pattern)} if only else set(names)
        for run in runs(study):
            if run.name in self.names:  # a config that is not there is named now, not after the turns of others
                study.inputs.config(run)
                _check_options(run)
                evaluations(study, run, "end")
        self.settings = settings(study)
        self.failures: dict[str, str] = {}
        self._env = environment([device])

    def run(self) -> dict[str, str]:
        """Return name -> reason of the runs and evaluations that failed."""
        pending = [run for run in runs(self.study) if run.name in self.names]
        try:
            while pending:
                for run in sorted(pending, key=lambda run: (rank(self.study, run), self._epochs(run))):
                    over = self._turn(run)
                    if over is not None:
                        break
                else:
                    time.sleep(1)  # other calls have all of them
                    continue
                if over:
                    pending.remove(run)
        finally:
            self.study.inputs.cache.save()
        return self.failures

    def _turn(self, run: Job) -> bool | None:
        """Train a run for a turn and evaluate its new marks; say whether it is over, None when another call has it."""
        missing = [name for name in run.after if not self._is_done(name)]
        if missing:
            self._fail(run, f"needs {missing[0]}: run tools/transfer.py {self.study.suite.path} --only '{missing[0]}'")
            return True
        state = self.study.state(run)
        if state.name == "running":
            return None
        with self.study.started(run) as lock:
            if lock is None:
                return None
            if state.name != "done" and not self._train(run, lock, state.why if state.name == "stale" else ""):
                return True
            try:
                self._evaluate(run, lock)
            except UserError as error:  # a broken file of a mark
                self._fail(run, str(error))
                return True
            return self.study.is_done(run)

    def _is_done(self, name: str) -> bool:
        return self.study.is_done(self.study.suite.jobs[name])

    def _epochs(self, run: Job) -> int:
        """Return how many epochs a run has trained: those of its newest checkpoint."""
        names = (re.fullmatch(r"epoch_(\d+)\.pth", path.name) for path in self._folder(run).glob("epoch_*.pth"))
        return max((int(name[1]) for name in names if name), default=0)

    def _train(self, run: Job, lock: int, stale: str) -> bool:
        """Train for a turn; say whether it went well."""
        before = self._epochs(run)
        self.say(f"[{run.name}] goes on after {before} epochs{f', made again: {stale}' if stale else ''}")
        leaf = self._folder(run) / "with_marks.py"
        marks = {key: self.settings[key] for key in ("images", "seconds", "clock", "turn_epochs")}
        write_atomically(leaf, _LEAF.format(base=os.path.abspath(run.config), marks=marks,
                                            interval=self.settings["turn_epochs"]))
        status = self._call(run, replace(run, config=str(leaf)), [lock])
        if status == 0 and self._epochs(run) == before and not self.study.is_done(run):
            self._fail(run, "a turn has left no checkpoint of a further epoch")
            return False
        if status != 0:
            self._fail(run, self.study.failed(run, status))
            return False
        return True

    def _evaluate(self, run: Job, lock: int) -> None:
        for mark in reached(self.study, run):
            for job in evaluations(self.study, run, mark["mark"]).values():
                if self.study.state(job).name == "done":
                    continue
                with self.study.started(job) as own:
                    if own is None:
                        continue
                    status = self._call(job, job, [lock, own])
                    if status or not self.study.is_done(job):
                        self._fail(job, self.study.failed(job, status))
        self.say(f"[{run.name}] {progress(self.study, run)}")

    def _call(self, job: Job, as_run: Job, locks: list[int]) -> int:
        return self.call(command(self.study, as_run), self._folder(job) / OUTPUT_FILE, self._env, locks)

    def _folder(self, job: Job) -> Path:
        return self.study.suite.folder(job.name)

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.name] = reason
        self.say(f"[{job.name}] FAILED: {reason}  (all of it: {self._folder(job) / OUTPUT_FILE})")


def _check_options(run: Job) -> None:
    """Refuse options that set all hooks at once: the marks, which the leaf adds to those of its base, would be lost."""
    replaced = {"custom_hooks", "default_hooks", "default_hooks.checkpoint"} & set(run.options)
    if replaced:
        raise UserError(f"pretraining of {run.name}: its option {min(replaced)} would replace the hook that keeps the "
                        "marks; write the hooks into a config of their own, with the suite's as _base_")
