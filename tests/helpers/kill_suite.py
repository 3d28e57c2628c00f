"""Script: run the tiny suite with the real tools, kill it twice, let one job fail, and compare with a whole run.

    python tests/helpers/kill_suite.py [--random-seed 0] [--jobs 2] [--out work_dirs/kill_suite]

The steps: two calls of tools/transfer.py that end by SIGKILL of the call and all that it started, at random moments; a
third call during which one job is killed whenever it starts, as by a machine out of memory; a fourth that runs only
that job; a fifth that has nothing to run. Then the same study without interruption. Every score, the losses of every
logged iteration, and every tensor of the last checkpoints have to be equal, bit for bit, and so the tables but for
their cost columns. Prints what it finds; exit status 1 when anything differs. 74 runs of about 10 s of imports
and 5 s of work each: ten minutes on two free cores, an hour on two busy ones.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

SUITE = "tests/helpers/tiny_suite.py"
FAILS = "knn_famt-seed1"
JOBS = 36


def main() -> int:
    """Run both studies, compare them, and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random-seed", type=int, default=0, help="draws the moments of the kills")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--out", default="work_dirs/kill_suite")
    args = parser.parse_args()
    draw, killed, whole = random.Random(args.random_seed), Path(args.out, "killed"), Path(args.out, "whole")
    problems = []

    for at_least, at_most in ((2, 8), (14, 24)):
        number, moment = draw.randint(at_least, at_most), draw.uniform(0, 15)
        status, seconds, _ = call(killed, args.jobs, kill=(number, moment))
        print(f"killed after {seconds:.0f} s, {moment:.1f} s after result {number}: {len(results(killed))} results, "
              f"begun: {', '.join(begun(killed))}; exit status {status}")  # fmt: skip
    status, seconds, printed = call(killed, args.jobs, fails=FAILS)
    failed = [line for line in printed.splitlines() if line.startswith("FAILED ")]
    print(f"third call: {seconds:.0f} s, {len(results(killed))} results, exit status {status}, {failed}")
    resumed = [line for line in printed.splitlines() if "started, resumed" in line]
    print("\n".join(resumed))
    if status != 1 or len(failed) != 1 or FAILS not in failed[0] or len(results(killed)) != JOBS - 1:
        problems.append("the failing job alone should have no result")
    status, seconds, printed = call(killed, args.jobs)
    started = [line for line in printed.splitlines() if "] started" in line]
    print(f"fourth call: {seconds:.0f} s, exit status {status}, {started}")
    if status or len(started) != 1 or FAILS not in started[0]:
        problems.append("the fourth call should have run the failing job alone")
    before = {path: path.stat().st_mtime_ns for path in results(killed).values()}
    spent = os.times().children_user
    status, seconds, printed = call(killed, args.jobs)
    print(f"fifth call: {seconds:.1f} s, exit status {status}; {os.times().children_user - spent:.1f} s of a core")
    after = {path: path.stat().st_mtime_ns for path in results(killed).values()}
    if status or "] started" in printed or after != before or seconds >= 10:
        problems.append("the fifth call should have run nothing, in less than 10 s")

    status, seconds, printed = call(whole, args.jobs)
    print(f"without interruption: {seconds:.0f} s, exit status {status}, {len(results(whole))} results")
    differing = compare(killed, whole)
    print(f"{len(results(whole))} jobs compared: {len(differing)} differences")
    problems += differing
    if table(killed) != table(whole):
        problems.append("the tables differ")
    print(printed[printed.rindex("| pretraining") :])
    print("\n".join(["PROBLEMS:", *problems]) if problems else "all equal")
    return bool(problems)


def call(work_dir, jobs, kill=None, fails=None):
    """Call tools/transfer.py; return its status, seconds and output. `kill`: (results, seconds after them)."""
    words = [sys.executable, "tools/transfer.py", SUITE, "--work-dir", str(work_dir), "--jobs", jobs]
    log = work_dir.with_suffix(".txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with open(log, "ab") as file:
        start = file.tell()
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        while process.poll() is None:
            time.sleep(0.1)
            if fails:
                for number in children(process.pid):
                    if f"{work_dir}/{fails}" in command_line(number):
                        signal_all([number, *children(number)])
            if kill and len(results(work_dir)) >= kill[0]:
                time.sleep(kill[1])
                # Stopped first, or the call could start another run while its children are counted.
                os.kill(process.pid, signal.SIGSTOP)
                signal_all([process.pid, *children(process.pid)])
                kill = None
                process.wait()
    text = log.read_bytes()[start:].decode(errors="replace")
    return process.returncode, time.monotonic() - began, text


def children(process):
    """Return the processes below one, however deep, in whatever process group."""
    found = []
    for path in Path("/proc").glob(f"{process}/task/*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return [*found, *(number for child in found for number in children(child))]


def command_line(process):
    """Return the command of a process, empty when it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


def signal_all(processes):
    """Send SIGKILL to those that are still there."""
    for number in processes:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def results(work_dir):
    """Return job -> the record of each that is done."""
    return {path.parent.name: path for path in sorted(work_dir.glob("*/result.json"))}


def begun(work_dir):
    """Return the jobs that have started and have no result, with their newest checkpoint."""
    names = sorted(path.parent.name for path in work_dir.glob("*/job.json"))
    open_ones = [name for name in names if name not in results(work_dir)]
    return [" ".join([name, *sorted(path.name for path in (work_dir / name).glob("*.pth"))]) for name in open_ones]


def compare(one, other):
    """Return what differs between two studies: scores, losses, tensors of checkpoints."""
    if sorted(results(one)) != sorted(results(other)) or len(results(one)) != JOBS:
        return [f"{len(results(one))} and {len(results(other))} results of {JOBS}"]
    found = []
    for name in results(one):
        first, second = (json.loads(results(work_dir)[name].read_text()) for work_dir in (one, other))
        for key in ("metrics", "raw_metrics", "curves", "label", "seed", "data_fingerprint"):
            if first[key] != second[key]:
                found.append(f"{name}: {key} {first[key]} != {second[key]}")
        if tensors(one / name) != tensors(other / name):
            found.append(f"{name}: tensors of the checkpoint")
    return found


def tensors(folder):
    """Return the checksums of all tensors in the last checkpoint: weights, buffers and state of the optimizer."""
    pointer = folder / "last_checkpoint"
    if not pointer.exists():  # k-NN trains nothing
        return []
    with zipfile.ZipFile(folder / Path(pointer.read_text()).name) as file:
        return [(info.filename.partition("/")[2], info.CRC) for info in file.infolist() if "/data/" in info.filename]


def table(work_dir):
    """Return the score columns of the table: they and not the costs must not depend on what was interrupted."""
    words = [sys.executable, "tools/transfer.py", SUITE, "--work-dir", str(work_dir), "--table", "--format", "json"]
    content = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    rows = [(row["label"], [{**entry, "records": None} for entry in row["cells"]]) for row in content["rows"]]
    return content["columns"], rows


if __name__ == "__main__":
    sys.exit(main())
