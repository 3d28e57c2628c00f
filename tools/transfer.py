"""Run a study: pretrainings x downstream tasks x seeds, described in one small file. Runs what is missing, then prints
the table.

    python tools/transfer.py configs/suites/demo.py            # the plan, the runs, the table
    python tools/transfer.py configs/suites/demo.py --plan     # the plan with estimated cost only
    python tools/transfer.py configs/suites/demo.py --table    # the table of what is done
"""
import argparse
import os
import sys
from pathlib import Path

# Python puts this folder first on the path; the packages lie one above.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("suite", help="suite file, e.g. configs/suites/demo.py (docs/suites.md)")
    add("--seeds", type=int, nargs="+", metavar="N", help="seeds (default: the suite's); one more runs only its jobs")
    add("--work-dir", help="folder of the jobs' work dirs (default: the suite's, or work_dirs/SUITE_NAME)")
    add("--only", nargs="+", default=[], metavar="PATTERN", help="jobs by name, e.g. 'det_*', and what these need")
    add("--accept-code", action="store_true", help="what was made before the code changed counts as made")
    add("--executor", choices=["local", "slurm", "submitit-local", "submitit-debug"], default="local",
        help="this machine, or Slurm through submitit (the last two try it out without Slurm)")
    add("--devices", metavar="0,1", help="GPUs to use, or cpu (default: all that are visible, else the CPU)")
    add("--gpu", metavar="NAME", help="in the plan, estimate jobs that have no record for this GPU, e.g. h100")
    add("--jobs", type=int, metavar="N", help="runs at a time on the CPU, with one thread each (default: 2)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="only say what would run, and its estimated cost")
    what.add_argument("--table", nargs=argparse.REMAINDER, metavar="ARG",
                      help="only print the table of what is done; arguments behind it go to tools/table.py")
    what.add_argument("--commands", action="store_true", help="only print a command for each job that is to run, in "
                                                             "an order that works, for any other scheduler")
    what.add_argument("--run-job", metavar="NAME", help="run this one job here, as --commands prints it")
    what.add_argument("--cell", dest="run_job", help=argparse.SUPPRESS)  # its earlier name, in lists of commands
    args = parser.parse_args()
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected 1 or more")
    return args


def estimator(name: str):
    """Return a function from a job to its estimated seconds on a GPU, and what they are."""
    from mimtransfer.errors import UserError
    from mimtransfer.planning.gpus import find_gpu

    gpu = find_gpu(name, None, None)
    known: dict[tuple, float | None] = {}

    def guess(job):
        if job.of is not None:  # it tests what is trained
            return None
        import mimtransfer  # noqa: F401  before mmdet and mmseg
        from mimtransfer.cli.options import option_texts
        from pretrain.planning.configs import estimate_seconds

        asked = (job.config, *option_texts(job.options))
        if (asked, job.gpus, job.amp) not in known:  # seeds and starts cost the same
            try:
                seconds = estimate_seconds(asked[0], list(asked[1:]), gpu, job.gpus, job.amp)
            except UserError:  # it trains nothing, or something that the run itself will tell
                seconds = None
            known[asked, job.gpus, job.amp] = seconds
        seconds = known[asked, job.gpus, job.amp]
        return None if seconds is None else (seconds, f"estimated, {name}")

    return guess


def main() -> int:
    """Plan, run, tabulate. Return 1 when a job has failed."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.errors import UserError, near_matches

    with clean_exit():
        from mimtransfer.suites import plan
        from mimtransfer.suites.local import LocalRunner, find_devices, job_command, run_here
        from mimtransfer.suites.state import Study

        options = dict(seeds=args.seeds, work_dir=args.work_dir, accept_code=args.accept_code)
        study = Study(ROOT, args.suite, only=args.only, **options)
        jobs = study.suite.jobs
        if args.run_job is not None:
            if args.run_job not in jobs:
                hint = near_matches(args.run_job, jobs) or f"jobs are {', '.join(jobs)}"
                raise UserError(f"--run-job: {args.suite} has no job {args.run_job!r}; {hint}")
            run_here(study, jobs[args.run_job])
            return 0
        states = study.states()
        if args.table is not None:
            return plan.table(ROOT, study.suite, states, args.table)
        if args.commands:
            given = [*(["--seeds", *map(str, args.seeds)] if args.seeds else []),
                     *(["--work-dir", args.work_dir] if args.work_dir else []),
                     *(["--accept-code"] if args.accept_code else [])]
            for name, state in states.items():
                if state.name != "done":
                    after = [other for other in jobs[name].after if states[other].name != "done"]
                    print(f"# {name}" + (f", after {', '.join(after)}" if after else ""))
                    print(job_command(args.suite, given, name, Path(os.path.relpath(ROOT))))
            return 0
        slots: list[str | None] = find_devices(args.devices, args.jobs) if args.executor == "local" else [None] * 16
        guess = estimator(args.gpu) if args.gpu is not None else None
        print(plan.plan(study, states, len(slots), args.plan, guess), flush=True)
        study.inputs.cache.save()
        if args.plan:
            return 0
        if args.executor != "local":
            from mimtransfer.suites.slurm import QueuedJob, submit

            cluster = args.executor.removeprefix("submitit-")
            submit(study, states, lambda name: QueuedJob(ROOT, args.suite, options, name), cluster)
            if cluster == "slurm":
                print("submitted; the table of what is done, at any time: "
                      f"python tools/transfer.py {args.suite} --table")
                return 0
            failures = {name: state.why for name, state in study.states().items() if state.name != "done"}
        elif all(state.name == "done" for state in states.values()):
            failures = {}
        else:
            runner = LocalRunner(study, slots, say=lambda line: print(line, flush=True))
            failures = runner.run()
        print()
        status = plan.table(ROOT, study.suite, study.states(), [])
        for name, reason in failures.items():
            print(f"FAILED {name}: {reason}", file=sys.stderr)
        if failures:
            print(f"{len(failures)} of {len(jobs)} jobs have no result; call again to try them once more",
                  file=sys.stderr)
        return 1 if failures else status


if __name__ == "__main__":
    sys.exit(main())
