"""Script: kill trainings at random moments and fill their disk, and see whether they can always go on, and exactly.

    python tests/helpers/kill_runs.py [--kinds pretrain,maps,detection,classification] [--kills 50] [--full 5]
                                      [--random-seed 0] [--save-every-iters N] [--out work_dirs/kill_runs]
                                      [--source folder,list,tar,zip,parquet,paths,hf,hf_paths]

Each kind is trained once without interruption. Then it is started again and again with `--resume`, each time to be
ended by SIGKILL of the process and its loader workers: half of the kills are at a random moment after it began to
train, the others in a save, when the file that is being written appears. A run that finishes begins anew in an empty
work dir, until the kills of this kind (their total, split evenly) are used up. The full disks are a limit on the size
of files (RLIMIT_FSIZE) below that of a checkpoint: the save fails half-way, as on a full disk. After each kill the
newest checkpoint must be whole; every loss that is logged, of the last call that reached its iteration, and all tensors
of the last checkpoints must equal those of the whole run bit for bit. Exit status 1 when anything differs.

With `--save-every-iters` the epochs have 16 iterations and checkpoints within them, and every second call writes in the
background. With `--source` each kind of pretraining is done from each of these (`source_files.py`), by `ImageSource`.
"""
import argparse
import json
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from pathlib import Path

from coloured_classes import paint_classes
from noise_images import make_images
from source_files import SOURCES, write_sources

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
KINDS = ("pretrain", "maps", "detection", "classification")
SAVING = []  # options of each call
HERE = ["{}_dataloader.num_workers=0", "{}_dataloader.persistent_workers=False"]


def main() -> int:
    """Kill, compare, and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--kills", type=int, default=50, help="in total over the kinds")
    parser.add_argument("--full", type=int, default=5, help="full disks of each kind")
    parser.add_argument("--random-seed", type=int, default=0, help="draws the moments of the kills")
    parser.add_argument("--save-every-iters", type=int, help="within epochs; half of the calls with --async-save")
    parser.add_argument("--source", help=f"some of {','.join(SOURCES)}: pretrain from these, by ImageSource")
    parser.add_argument("--out", default="work_dirs/kill_runs")
    args = parser.parse_args()
    if args.save_every_iters:
        SAVING[:] = ["--save-every-iters", str(args.save_every_iters)]
    kinds, out, draw = args.kinds.split(","), Path(args.out).resolve(), random.Random(args.random_seed)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    make_images(out / "images")
    if args.source:
        sources = args.source.split(",")
        files = {path.name: path.read_bytes() for path in sorted((out / "images").iterdir())}
        write_sources(out / "sources", files, sources)
        kinds = [each for kind in kinds for each in ([f"{kind}-from-{source}" for source in sources]
                                                     if kind in ("pretrain", "maps") else [kind])]
    if "detection" in kinds:
        counts = ["--train", "8", "--val", "2", "--unlabelled", "0"]
        subprocess.run([sys.executable, "tools/make_scenes.py", "--out", str(out / "data/scenes"), *counts], cwd=ROOT,
                       check=True, env=environment(), capture_output=True)
    if "classification" in kinds:
        paint_classes(out / "classes", {"blue": (40, 60, 160), "red": (160, 60, 50)}, 24)
    preload(kinds)
    problems = []
    for number, kind in enumerate(kinds):
        share = args.kills // len(kinds) + (number < args.kills % len(kinds))
        problems += trial(kind, share, args.full, out, draw)
    print("\n".join(["PROBLEMS:", *problems]) if problems else "all equal")
    return bool(problems)


def kill_a_few(log: str, out: str) -> None:
    """Be the script with two kills of a pretraining and a full disk; what it says goes to a file."""
    sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115, until the process ends
    sys.argv = ["kill_runs.py", "--kinds", "pretrain", "--kills", "2", "--full", "1", "--out", out]
    sys.exit(main())


def trial(kind: str, kills: int, full: int, out: Path, draw: random.Random) -> list[str]:
    """Kill one kind of run so many times; return what went wrong."""
    whole, run = out / f"{kind}-whole", out / f"{kind}-run"
    began = time.monotonic()
    status, _, error = call(kind, out, whole)
    if status:
        return [f"{kind}: the whole run ended with status {status}: {error[-600:]}"]
    seconds = train_seconds(whole)
    print(f"{kind}: whole run {time.monotonic() - began:.1f} s, of it {seconds:.1f} s of training", flush=True)
    problems, done, in_save, finished, seen = [], 0, 0, 0, {}
    kinds_of_end = ["kill"] * kills + ["full"] * full
    draw.shuffle(kinds_of_end)
    for number, end in enumerate(kinds_of_end):  # which grows
        moment = "save" if end == "kill" and number % 2 else draw.uniform(0, seconds)
        background = bool(SAVING) and number % 4 < 2  # kills at a random moment and in a save, of both
        status, how, error = call(kind, out, run, end=end, moment=moment, draw=draw, background=background)
        how += ", in the background" if background else ""
        done += end == "kill" and status == -signal.SIGKILL
        in_save += how.startswith("in a save")
        problems += check(kind, run, whole, status, end, error, seen)
        if status == 0:  # it ended before its kill
            finished += 1
            if end == "kill":
                kinds_of_end.append(end)  # again
            problems += compare(kind, run, whole)
            shutil.rmtree(run)
        print(f"{kind} {number + 1}/{len(kinds_of_end)}: {end}, {how}, status {status}, "
              f"{sorted(path.name for path in run.glob('*.pth'))}", flush=True)
    status, _, error = call(kind, out, run)
    if status:
        problems.append(f"{kind}: the last call ended with status {status}: {error[-600:]}")
    else:
        problems += compare(kind, run, whole)
    print(f"{kind}: {done} runs ended by SIGKILL, {in_save} of them in a save, {full} full disks; "
          f"{finished} runs ended before their kill; {len(problems)} problems", flush=True)
    return problems


def call(kind, out, work_dir, end=None, moment=None, draw=None, background=False):
    """Run a training with --resume; return its status, how it ended, and its errors."""
    limit = checkpoint_size(out / f"{kind}-whole") * draw.uniform(0.2, 0.9) if end == "full" else None

    def before():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))

    log = out / f"{kind}.err"
    with open(log, "w") as file:
        words = command(kind, out, work_dir)
        words[3:3] = [*SAVING, *["--async-save"] * background]
        process = Forked(words, out, file, before)
        how = "to its end"
        if end == "kill":
            how = kill(process, work_dir, moment)
        process.wait()
    return process.returncode, how, log.read_text(errors="replace")


class Forked:
    """A tool in a process that is forked from this one, with everything imported: a second to start, not twenty."""

    def __init__(self, command, folder, errors, before):
        self.returncode = None
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            os.setsid()
            os.dup2(errors.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            os.chdir(folder)
            sys.argv = command[1:]
            before()
            runpy.run_path(command[1], run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def poll(self):
        """Return the exit status, negative for a signal, or None."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self):
        """Wait for the exit status."""
        while self.poll() is None:
            time.sleep(0.002)
        return self.returncode


def preload(kinds):
    """Import what the runs need, and start nothing."""
    os.environ.update(environment())
    import mimtransfer  # noqa: F401  first: mmdet needs mmcv's operators
    import pretrain.data
    import pretrain.hooks
    import pretrain.masking
    import pretrain.methods
    import pretrain.runner  # noqa: F401

    if "detection" in kinds:
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=False)


def kill(process, work_dir, moment):
    """Wait for the moment, and kill the process with all that it started."""
    known = logs(work_dir)
    while process.poll() is None and logs(work_dir) <= known:  # it has begun to train
        time.sleep(0.01)
    begun, how = time.monotonic(), "at a random moment"
    while process.poll() is None:
        if moment == "save" and list(work_dir.glob(".*.part")):
            how = "in a save"
            break
        if moment != "save" and time.monotonic() - begun >= moment:
            break
        time.sleep(0.0005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return how if process.wait() < 0 else "to its end"


def check(kind, run, whole, status, end, error, seen):
    """Return what is wrong after a call: no whole checkpoint where one was, a traceback, another loss."""
    from mimtransfer.checkpoints.newest import newest_checkpoint

    found = []
    expected = {"kill": (-signal.SIGKILL, 0), "full": (2, 0)}[end]
    if status not in expected or "Traceback" in error:
        found.append(f"{kind}: status {status} after {end}: {error[-600:]}")
    newest = newest_checkpoint(run) if run.exists() else None
    if newest is None and seen.get(run):
        found.append(f"{kind}: a checkpoint was there, and none is left")
    seen[run] = newest if status else None
    losses, right = losses_of(run), losses_of(whole)
    wrong = [key for key, value in losses.items() if right.get(key) != value]
    if wrong:
        found.append(f"{kind}: the loss of iteration {wrong[0]} is {losses[wrong[0]]}, expected {right.get(wrong[0])}")
    return found


def compare(kind, run, whole):
    """Return what differs between a run with interruptions and one without."""
    found = []
    if losses_of(run) != losses_of(whole):
        found.append(f"{kind}: the losses differ")
    names = [sorted(path.name for path in folder.glob("*.pth")) for folder in (run, whole)]
    if names[0] != names[1]:
        found.append(f"{kind}: checkpoints {names[0]}, expected {names[1]}")
    elif tensors(run / names[0][-1]) != tensors(whole / names[1][-1]):
        found.append(f"{kind}: the tensors of the last checkpoints differ")
    scores = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (run, whole)]
    if scores[0] != scores[1]:
        found.append(f"{kind}: scores {scores[0]}, expected {scores[1]}")
    return found


def command(kind, out, work_dir):
    """Return the command of a kind of run."""
    kind, _, source = kind.partition("-from-")
    if kind == "detection":
        words = [sys.executable, str(ROOT / "tools/train.py"),
                 str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py"), "--work-dir", str(work_dir), "--resume",
                 "--cfg-options", *(option.format(name) for name in ("train", "val", "test") for option in HERE)]
        return [*words, "train_dataloader.batch_size=2", "train_cfg.max_iters=8", "train_cfg.val_interval=8",
                "default_hooks.checkpoint.interval=2", "default_hooks.logger.interval=1",
                "param_scheduler.0.start_factor=1.0"]
    longer = ["train_dataloader.batch_size=2"] if SAVING else []
    if kind == "classification":
        leaf = out / "classification.py"
        leaf.write_text(CLASSIFICATION)
        words = [sys.executable, str(ROOT / "tools/train.py"), str(leaf), "--work-dir", str(work_dir), "--resume"]
        return [*words, "--cfg-options", "default_hooks.logger.interval=1", *longer]
    images = out / "sources" / SOURCES[source] if source else out / "images"
    words = TINY_PRETRAIN(images, work_dir, epochs=3 if SAVING else 8) + longer
    if source:
        words.append("train_dataloader.dataset.type=ImageSource")
    if kind == "maps":
        leaf = out / "maps.py"
        leaf.write_text(f"_base_ = [{str(ROOT / 'configs/debug/mae_vit-debug_2e_folder.py')!r}]\n"
                        "model = dict(strategy=dict(_delete_=True, type='AMTMasking', mask_ratio=0.5, "
                        "throw_ratio=0.25))\n"
                        "custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook'), "
                        "dict(type='MapBankHook', begin=1, interval=2, amp=False)]\n")
        words[2] = str(leaf)
    return words


CLASSIFICATION = f"""
_base_ = [{str(ROOT / "configs/classification/finetune_vit-tiny-p4_5e_cifar10.py")!r}]
model = dict(num_classes=2, backbone=dict(patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)))
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(
    root='classes/images/train', num_images=16))
val_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(
    root='classes/images/test'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=3)
"""


def TINY_PRETRAIN(images, work_dir, epochs):
    """Return the command of a pretraining of 4 iterations an epoch."""
    return [sys.executable, str(ROOT / "tools/pretrain.py"), str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py"),
            "--work-dir", str(work_dir), "--resume", "--cfg-options", f"train_dataloader.dataset.root={images}",
            f"train_cfg.max_epochs={epochs}", *(option.format("train") for option in HERE)]


def damage(path, how):
    """Leave a file as a crash does."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes({"cut": content[:half], "empty": b"", "text": b"moved to another place\n",
                      "middle": content[:half] + bytes(64) + content[half + 64 :]}[how])


def losses_of(work_dir):
    """Return iteration -> loss as it is logged, over all calls; the last call counts."""
    found = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime_ns):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a killed process
            if "loss" in values:
                found[str(values.get("iter"))] = values["loss"]
    return found


def logs(work_dir):
    """Return the logs of losses that have a line."""
    return {path for path in work_dir.glob("*/vis_data/scalars.json") if path.stat().st_size}


def train_seconds(work_dir):
    """Return the seconds from the first logged loss to the record."""
    first = min(path.stat().st_ctime for path in work_dir.glob("*/vis_data/config.py"))
    return (work_dir / "result.json").stat().st_mtime - first


def checkpoint_size(work_dir):
    """Return the bytes of a checkpoint."""
    return max(path.stat().st_size for path in work_dir.glob("*.pth"))


def tensors(path):
    """Return the checksums of all tensors in a checkpoint: weights, buffers and state of the optimizer."""
    with zipfile.ZipFile(path) as file:
        return [(info.filename.partition("/")[2], info.CRC) for info in file.infolist() if "/data/" in info.filename]


def environment():
    """Return the environment of a run on one core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())
