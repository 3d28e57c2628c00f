"""Draw accuracy against training time: pretrain the contenders of a suite in turns, evaluate them on the way, and find
when each reaches the baseline's final accuracy.

    python tools/time_to_accuracy.py configs/suites/time-to-accuracy_cifar10-cpu.py            # run what is missing
    python tools/time_to_accuracy.py configs/suites/time-to-accuracy_cifar10-cpu.py --report   # of what is done
    python tools/time_to_accuracy.py docs/results/records/time-to-accuracy.json --out docs/results/time-to-accuracy

It writes NAME.json (the points), NAME.svg and NAME.md. A call that was stopped goes on where it was; two calls at once
share the work. See docs/time-to-accuracy.md.
"""
import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimtransfer.results.curves.points import Curves

# Python puts this folder first on the path; the packages lie one above.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("suite", help="suite file with `curves`, or a .json of points that this tool has written")
    add("--seeds", type=int, nargs="+", metavar="N", help="seeds (default: the suite's)")
    add("--work-dir", help="folder of the runs (default: the suite's, or work_dirs/SUITE_NAME)")
    add("--only", nargs="+", default=[], metavar="PATTERN", help="runs by name, e.g. 'mae-*'; train no others now")
    add("--accept-code", action="store_true", help="what was made before the code changed counts as made")
    add("--device", metavar="N", help="GPU to use, or cpu (default: the first that is visible, else the CPU)")
    add("--baseline", metavar="NAME", help="contender to compare with (default: the suite's)")
    add("--report", action="store_true", help="train and evaluate nothing")
    add("--out", metavar="NAME", help="write NAME.json, .svg and .md (default: WORK_DIR/curves)")
    return parser.parse_args()


def main() -> int:
    """Run, collect, draw. Return 1 when something has failed."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.errors import UserError

    with clean_exit():
        if args.suite.endswith(".json"):
            from mimtransfer.results.curves.points import compared_with, read_points

            if not args.out:
                raise UserError(f"{args.suite}: name the files to write with --out NAME")
            show(compared_with(read_points(args.suite), args.baseline), args.out, args.suite, args.baseline)
            return 0
        from mimtransfer.files import write_atomically
        from mimtransfer.results.curves.points import compared_with, parse
        from mimtransfer.results.curves.reach import standings
        from mimtransfer.suites.curves import collect, settings
        from mimtransfer.suites.local import find_devices
        from mimtransfer.suites.state import Study
        from mimtransfer.suites.turns import Turns

        study = Study(ROOT, args.suite, args.seeds, args.work_dir, accept_code=args.accept_code)
        settings(study)
        failures: dict[str, str] = {}
        if not args.report:
            failures = Turns(study, find_devices(args.device, None)[0], only=args.only,
                             say=lambda line: print(line, flush=True)).run()
        out = args.out or str(study.suite.work_dir / "curves")
        stored = collect(study, failures)
        study.inputs.cache.save()
        curves = compared_with(parse(stored, f"{out}.json"), args.baseline)
        stored["baseline"] = curves.baseline
        stored["standings"] = {task: [*map(asdict, standings(curves, task))] for task in curves.tasks}
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(f"{out}.json", json.dumps(stored, indent=1) + "\n")
        show(curves, out, f"{out}.json")
        for name, reason in failures.items():
            print(f"FAILED {name}: {reason}", file=sys.stderr)
        if failures:
            print("call again to try them once more", file=sys.stderr)
        return 1 if failures else 0


def show(curves: "Curves", out: str, source: str, baseline: str | None = None) -> None:
    """Write the picture and the page, and print the page.

    Args:
        source: file of the points.
        baseline: what was given in place of that of the points.
    """
    from mimtransfer.files import write_atomically
    from mimtransfer.results.curves.page import page
    from mimtransfer.results.curves.picture import draw, svg

    if not curves.points:
        print("no mark has been evaluated yet")
        return
    given = [] if baseline is None else ["--baseline", baseline]
    command = shlex.join(["python", "tools/time_to_accuracy.py", source, *given, "--out", out])
    text = page(curves, f"{Path(out).name}.svg", command)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(f"{out}.svg", svg(draw(curves)))
    write_atomically(f"{out}.md", text)
    print(text)
    print(f"written: {out}.svg, {out}.md")


if __name__ == "__main__":
    sys.exit(main())
