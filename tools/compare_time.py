"""Time the training step of pretraining configs with the code of two revisions, in turns in one run.

    OMP_NUM_THREADS=1 python tools/compare_time.py main . configs/pretrain/mae_vit-base_800e_in1k.py --batch-size 4

For changes that must not slow a step. Each revision has a process of its own, which holds the model and a batch of
made-up images and steps when it is asked to: A B, B A, A B ... The ratio (second revision to the first) is taken in
each turn; the median is what counts, also on a machine whose speed comes and goes. It is given for the CPU time of the
process and for wall-clock time.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

Times = dict[str, float]  # "cpu", "wall" -> seconds of a step


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("first", metavar="REV1", help="commit, branch or tag; . is the working tree as it is")
    add("second", metavar="REV2", help="the revision to compare with it")
    add("configs", nargs="+", metavar="CONFIG", help="of a pretraining")
    add("--batch-size", type=int, default=8, metavar="N", help="images of a step (default: %(default)s)")
    add("--rounds", type=int, default=11, metavar="N", help="turns of each; two more warm up (default: %(default)s)")
    add("--steps", type=int, default=1, metavar="N", help="steps of a turn (default: %(default)s)")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys, in both")
    return parser.parse_args()


class Stepper:
    """A process that does training steps of one revision when asked.

    Args:
        revision: its name, for messages.
        tree: folder with the code.
        config: of a pretraining, relative to `tree`.
        args: the command line.
        errors: an open file for what the process says beside its answers.

    Raises:
        UserError: here or later, the process ended; its last line says why.
    """

    def __init__(self, revision: str, tree: Path, config: Path, args: argparse.Namespace, errors: IO[str]):
        self._name, self._errors = f"{config} of {revision}", errors
        from mimtransfer.shipped.places import CODE

        # That of this checkout, whatever the revision has, whose code is on the path of the process.
        worker = CODE / "pretrain" / "benchmarks" / "stepper.py"
        command = [sys.executable, str(worker), str(tree / config), str(args.batch_size), *args.cfg_options]
        env = {**os.environ, "PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )

    def step(self, steps: int) -> Times:
        """Do some steps; return the seconds of one."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer, none, says it
            print(steps, file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Times:
        """Wait for what the process says next; at first that it is ready, with no times."""
        from mimtransfer.errors import UserError

        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines() or ["it said nothing"]
            raise UserError(f"{self._name} cannot step: {lines[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def compare(steppers: list[Stepper], rounds: int, steps: int, warm_up: int = 2) -> list[list[Times]]:
    """Let both step in turns, A B, B A ...; return their times, a row for each round after the warm-up."""
    rows = []
    for turn in range(warm_up + rounds):
        times: list[Times] = [{}, {}]
        for i in (0, 1) if turn % 2 == 0 else (1, 0):
            times[i] = steppers[i].step(steps)
        rows.append(times)
    return rows[warm_up:]


def describe(rows: list[list[Times]]) -> list[str]:
    """Return a line for CPU time and one for wall-clock time."""
    lines = []
    for kind in ("cpu", "wall"):
        first, second = ([times[i][kind] for times in rows] for i in (0, 1))
        ratios = sorted(b / a for a, b in zip(first, second))
        medians = "  ".join(f"{1e3 * statistics.median(times):9.1f} ms" for times in (first, second))
        lines.append(f"{kind:>5}  {medians}  ratio {statistics.median(ratios):.3f} "
                     f"({ratios[0]:.3f} to {ratios[-1]:.3f}), of the fastest turns {min(second) / min(first):.3f}")
    return lines


def main() -> None:
    """Compare config by config."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.cli.revisions import checked_out, configs_in
    from mimtransfer.errors import UserError

    with clean_exit(), contextlib.ExitStack() as stack:
        if min(args.batch_size, args.rounds, args.steps) < 1:
            raise UserError("--batch-size, --rounds and --steps must be 1 or more")
        names = [args.first, args.second]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare_time_")))
        trees, top = stack.enter_context(checked_out(names, folder))
        for config in configs_in(trees, names, args.configs, top):
            with contextlib.ExitStack() as running:
                steppers = []
                for name, tree in zip(names, trees):
                    errors = running.enter_context(tempfile.TemporaryFile("w+"))
                    steppers.append(Stepper(name, tree, config, args, errors))
                    running.callback(steppers[-1].close)
                for stepper in steppers:
                    stepper.answer()
                rows = compare(steppers, args.rounds, args.steps)
            print(f"{config}, {args.batch_size} images, {args.first} and {args.second}:", *describe(rows), sep="\n",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
