"""Run a tool in processes that are forked from one with everything imported: a second each, not six."""
import multiprocessing
import os
import runpy
import sys
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
TOOLS = HELPERS.parents[1] / "tools"
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pretrain.runner", "pretrain.methods", "pretrain.hooks", "pretrain.data",
                                 "pretrain.masking", "mimtransfer.results.record_hook", "torch.utils.tensorboard"])


def run_tool(log: Path, *args, processes: int = 1, port: int = 0, tool: str = "pretrain") -> list[int]:
    """Run a tool on the CPU; append what it prints to `log`; return the exit status of each rank."""
    clean = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # read when the first process imports torch
    before = {name: os.environ.get(name) for name in clean}
    os.environ.update(clean)
    ranks, command = [], (str(TOOLS / f"{tool}.py"), str(log), list(map(str, args)))
    for rank in range(processes):
        env = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        ranks.append(_CONTEXT.Process(target=_main, args=(*command, env if port else {})))
        ranks[-1].start()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    for process in ranks:
        process.join(120)
    return [process.exitcode for process in ranks]


def _main(tool: str, log: str, args: list[str], env: dict) -> None:
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115, until the process ends
    sys.argv = [tool, *args]
    sys.path[:0] = ["", str(HELPERS)]  # the tool replaces the first
    runpy.run_path(tool, run_name="__main__")
