"""Train the first steps of a config with the code of two revisions, and compare the losses of every step.

For changes that must not change results. Both runs have the same data, seed and options, and compute on the CPU in one
thread, where equal code gives bit-equal losses. Relative paths mean those of the folder you are in, as always. Where
the images of a pretraining config are missing, a few images of noise take their place.

Status 0: equal; 1: different; 2: no comparison.
"""
import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("first", metavar="REV1", help="commit, branch or tag; . is the working tree as it is")
    add("second", metavar="REV2", help="the revision to compare with it")
    add("configs", nargs="+", metavar="CONFIG", help="e.g. configs/debug/mae_vit-debug_2e_folder.py, of any task")
    add("--steps", type=int, default=8, metavar="N", help="training steps to compare (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of both runs (default: %(default)s)")
    add("--tolerance", type=float, default=0.0, help="relative difference to accept (default: 0, bit-equal)")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys, in both runs")
    return parser.parse_args()


def first_difference(curves: list[list[dict[str, float]]], names: list[str], tolerance: float) -> str | None:
    """Say where two runs differ first, or None.

    Args:
        curves: of both runs, for each step the losses by name.
        names: of the revisions.
        tolerance: relative; two NaN are equal.
    """
    for step, (first, second) in enumerate(zip(*curves), 1):
        for key in sorted({*first, *second}):
            if key not in first or key not in second:
                return f"step {step}: only {names[key in second]} logs {key}"
            a, b = first[key], second[key]
            if not (math.isclose(a, b, rel_tol=tolerance) or (math.isnan(a) and math.isnan(b))):
                return f"step {step}: {key} is {a!r} in {names[0]}, {b!r} in {names[1]}"
    if len(curves[0]) != len(curves[1]):
        return f"{names[0]} trains {len(curves[0])} steps, {names[1]} {len(curves[1])}"
    return None


def read_losses(work_dir: Path, steps: int) -> list[dict[str, float]]:
    """Return the losses of the first steps that a run has logged so far; its newest line may be half written."""
    lines = [line for path in work_dir.glob("*/vis_data/scalars.json") for line in path.open() if line.endswith("\n")]
    logged = [{key: value for key, value in json.loads(line).items() if "loss" in key} for line in lines]
    return [losses for losses in logged if losses][:steps]  # an evaluation logs none


def made_up_images(cfg, folder: Path, given: list[str]) -> list[str]:
    """Return the options that let a pretraining config read images of noise, where its own are missing.

    Args:
        given: the user's options; who names a folder means it.
    """
    import numpy as np
    from PIL import Image

    dataset = cfg.train_dataloader.dataset
    named = any(option.startswith("train_dataloader.dataset.") for option in given)
    if named or dataset.type != "ImageFolder" or Path(dataset.root).exists():
        return []
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for i in range(4 * cfg.train_dataloader.batch_size):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{i:04}.png")
    return [f"train_dataloader.dataset.root={folder}", "train_dataloader.dataset.num_images=None"]


def train(
    revision: str, tree: Path, config: Path, work_dir: Path, args: argparse.Namespace
) -> list[dict[str, float]]:  # fmt: skip
    """Train with the code of a revision, checked out in `tree`, until enough steps are logged; return their losses."""
    from mmengine.config import Config

    from mimtransfer.datasets.configured import is_pretraining
    from mimtransfer.errors import UserError

    cfg = Config.fromfile(tree / config, import_custom_modules=False)
    options = ["default_hooks.logger.interval=1", "log_processor.window_size=1", *args.cfg_options]
    pretraining = is_pretraining(cfg)
    if pretraining:
        options += made_up_images(cfg, work_dir.parent / "images", args.cfg_options)
    command = [sys.executable, str(tree / "tools" / ("pretrain.py" if pretraining else "train.py")), str(tree / config),
               "--work-dir", str(work_dir), "--seed", str(args.seed), "--cfg-options", *options]  # fmt: skip
    paths = os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    work_dir.mkdir()
    output = work_dir / "output.txt"
    with output.open("w") as file:
        # A session of its own, so that its loader processes can be ended with it.
        run = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while run.poll() is None and len(read_losses(work_dir, args.steps)) < args.steps:
                time.sleep(0.1)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
    losses = read_losses(work_dir, args.steps)
    if len(losses) < args.steps and run.returncode != 0:
        lines = output.read_text().strip().splitlines() or ["no output"]
        reason = next((line for line in lines if line.startswith("error: ")), lines[-1]).removeprefix("error: ")
        raise UserError(f"{Path(command[1]).name} of {revision} stopped after {len(losses)} steps: {reason}")
    return losses


def main() -> None:
    """Compare config by config."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.cli.revisions import checked_out, configs_in
    from mimtransfer.errors import UserError

    with clean_exit(), contextlib.ExitStack() as stack:
        if args.steps < 1 or not args.tolerance >= 0:
            raise UserError(f"got --steps {args.steps}, --tolerance {args.tolerance}; expected at least 1 and 0")
        names = [args.first, args.second]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare_loss_")))
        trees, top = stack.enter_context(checked_out(names, folder))
        configs = configs_in(trees, names, args.configs, top)
        differs = False
        for number, config in enumerate(configs):
            runs = folder / str(number)
            runs.mkdir()
            curves = [train(names[i], tree, config, runs / f"run{i}", args) for i, tree in enumerate(trees)]
            difference = first_difference(curves, names, args.tolerance)
            differs |= difference is not None
            print(f"{config}: {difference or f'equal, {len(curves[0])} steps'}", flush=True)
        sys.exit(int(differs))


if __name__ == "__main__":
    main()
