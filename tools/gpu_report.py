"""Measure everything on this machine's GPU in one command: its tests, then each method and task, in turns.

    python tools/gpu_report.py                                      docs/results/gpu/DEVICE_DATE.json and .md
    python tools/gpu_report.py --official-mae DIR --detectron2 DIR  their code in the same turns, from checkouts
    python tools/gpu_report.py --device cpu --quick                 the same code on a CPU at tiny sizes, two minutes

A case that fails, e.g. for want of memory, is a row with its reason, and the others go on. The files are written after
each group of cases. Status 1 where a test or a case failed.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

# As in benchmark.py: this folder first on the path would hide packages behind scripts.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1 ..., or cpu (default: cuda)")
    add("--quick", action="store_true", help="tiny models and few turns: whether the code runs, not how fast")
    add("--out", metavar="DIR", help="for the files (default: docs/results/gpu; --quick: work_dirs/gpu-report)")
    add("--only", nargs="+", metavar="TEXT", help="cases whose 'group: case' contains one of these; 'tests' is one")
    add("--minutes", type=float, default=18.0, help="groups that would begin later are left out (default: 18)")
    add("--rounds", type=int, help="timed turns of each case (default: 10; --quick: 2)")
    add("--official-mae", metavar="DIR", help="checkout of facebookresearch/mae")
    add("--detectron2", metavar="DIR", help="checkout of facebookresearch/detectron2")
    add("--tflops", type=float, help="bf16 peak of the GPU, for the MFU (default: the maker's, where it is known)")
    return parser.parse_args()


def main() -> None:
    """Test, measure, write."""
    args = parse_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when torch is loaded: what asks for a GPU finds none
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit(), tempfile.TemporaryDirectory() as folder:
        from mimtransfer.cli.prediction import check_device

        check_device(args.device)
        raise SystemExit(report(args, Path(folder)))


def report(args: argparse.Namespace, folder: Path) -> int:
    """Run all that is asked for; return the status."""
    import torch
    from mmengine.logging import MMLogger

    from mimtransfer.benchmarks.gpu_tests import OPERATORS, run_tests
    from mimtransfer.benchmarks.report import Report, describe_machine, left_out, row_of
    from mimtransfer.benchmarks.timing import free, measure
    from mimtransfer.results.provenance import git_state
    from pretrain.benchmarks.cases import Setting, groups

    MMLogger.get_instance("gpu_report", log_level="WARNING")  # else each model's initialisation is printed
    cuda = args.device != "cpu"
    if cuda:
        torch.cuda.set_device(torch.device(args.device).index or 0)
    setting = Setting(args.device, args.quick, folder, args.official_mae, args.detectron2)
    out = args.out or ("work_dirs/gpu-report" if args.quick else "docs/results/gpu")
    asked = dict(quick=args.quick, official_mae=bool(args.official_mae), detectron2=bool(args.detectron2))
    made = Report(out, describe_machine(args.device), asked, git_state())

    def wanted(name: str) -> bool:
        return args.only is None or any(part.lower() in name.lower() for part in args.only)

    def say(line: str) -> None:
        print(f"{made.seconds:6.0f} s  {line}", flush=True)

    if wanted("tests"):
        say("tests/gpu")
        made.add(run_tests(args.device, ["tests/gpu", *([OPERATORS] if cuda else [])], timeout=600), "tests")
    rounds = args.rounds or (2 if args.quick else 10)
    for group, cases in groups(setting).items():
        cases = [case for case in cases if wanted(f"{group}: {case.name}")]
        if not cases:
            continue
        if made.seconds > 60 * args.minutes:
            say(f"{group}: left out, {args.minutes:g} minutes are over")
            made.add(left_out(group, case.name, case.about, "no time was left") for case in cases)
            continue
        say(group)
        keys = {f"{case.name}, {case.precision}": case for case in cases}
        loads = any(case.loads for case in cases)  # long turns, in which what was loaded ahead does not count

        turns = (1, 1, rounds) if args.quick else (40, 1, min(rounds, 4)) if loads else (5, 3, rounds)

        def run(builders, turns=turns, group=group):
            steps, warmup, timed = turns
            return measure(builders, args.device, timed, steps, warmup, survive=True,
                           note=lambda line: say(f"{group}: {line}"))

        found = run({key: case.build for key, case in keys.items()})
        free(cuda)
        for key, (_, figure) in list(found.items()):
            if len(keys) > 1 and "out of memory" in (figure.error or ""):
                say(f"{group}: {key} once more, alone")
                found[key] = run({key: keys[key].build})[key]
                free(cuda)
        first = next(iter(found.values()))[1]
        rows = []
        for key, (contender, figure) in found.items():
            case = keys[key]
            same_turns = first if len(first.seconds) == len(figure.seconds) else None
            row = row_of(group, case.name, case.about, contender, figure, same_turns, made.content["machine"]["device"],
                         args.tflops)
            if case.loads and row.get("time_ratio"):
                row["data_wait"] = max(0.0, 1 - 1 / row["time_ratio"])
            rows.append(row)
        made.add(rows)
        del found, first, contender
        torch._dynamo.reset()
        free(cuda)
    made.finish()
    say(f"{made.path} and {made.path.with_suffix('.md').name}")
    for name in made.failures:
        say(f"failed: {name}")
    return 1 if made.failures else 0


if __name__ == "__main__":
    main()
