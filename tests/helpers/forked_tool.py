"""Run a tool in processes that are forked from one with everything imported: a second each, not six."""
import multiprocessing
import os
import runpy
import sys
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
TOOLS = HELPERS.parents[1] / "tools"
# There is one such process for each test process, whoever asks for it first: what all of its children need.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["quick_runs", "pretrain.runner", "pretrain.methods", "pretrain.hooks", "pretrain.data",
                                "pretrain.masking", "mimtransfer.results.record_hook", "torch.utils.tensorboard",
                                "mimtransfer.cli.launch", "mimtransfer.training.fsdp", "mimtransfer.backbones",
                                "mimtransfer.evaluation", "torch.distributed.launcher.api"])


def run_tool(log: Path, *args, processes: int = 1, port: int = 0, tool: str = "pretrain") -> list[int]:
    """Run a tool on the CPU; append what it prints to `log`; return the exit status of each rank."""
    ranks = []
    for rank in range(processes):
        env = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        ranks.append(start(become_tool, str(log), list(map(str, args)), env if port else {}, tool))
    for process in ranks:
        process.join(120)
    return [process.exitcode for process in ranks]


def torchrun_tool(log: Path, *args, processes: int, port: int) -> int:
    """Run the tool as torchrun does, its agent and its ranks in forked processes; return the agent's exit status."""
    agent = start(_torchrun, str(log), list(map(str, args)), processes, port)
    agent.join(120)
    return agent.exitcode


def start_tool(log: Path, *args):
    """Start the tool as `run_tool` does; return its process."""
    return start(become_tool, str(log), list(map(str, args)), {})


def run_ranks(function, *args, processes: int = 2) -> list[int]:
    """Call `function(rank, *args)` in so many forked processes; return their exit statuses."""
    ranks = [start(function, rank, *args) for rank in range(processes)]
    for process in ranks:
        process.join(120)
    return [process.exitcode for process in ranks]


def start(function, *args):
    """Call a function in a forked process that has no GPU and one thread; return the process."""
    # Read when the process from which all are forked starts and imports torch; its path is not ours.
    clean = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{HELPERS}:{TOOLS.parent}"}
    before = {name: os.environ.get(name) for name in clean}
    os.environ.update(clean)
    process = CONTEXT.Process(target=function, args=args)
    process.start()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    return process


def become_tool(log: str, args: list[str], env: dict, tool: str = "pretrain") -> None:
    """Run the tool in this process, with what it prints appended to a file."""
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115, until the process ends
    sys.argv = [str(TOOLS / f"{tool}.py"), *args]
    sys.path[:0] = ["", str(HELPERS)]  # the tool replaces the first
    runpy.run_path(sys.argv[0], run_name="__main__")


def _torchrun(log: str, args: list[str], processes: int, port: int) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id="test", rdzv_backend="c10d",
                          rdzv_endpoint=f"127.0.0.1:{port}", max_restarts=0, start_method="fork")
    elastic_launch(config, become_tool)(log, args, {})
