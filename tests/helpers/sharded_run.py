"""Run tools/train.py and tools/test.py in processes of their own, and note what each step of a training does."""
import json
import os
import runpy
import sys
from pathlib import Path

import torch
from forked_tool import start
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

HELPERS = Path(__file__).resolve().parent


@HOOKS.register_module()
class TrailHook(Hook):
    """Append the loss of each step, averaged over processes, and the norm of its gradients to `trail.jsonl`; write the
    shapes that a process holds to `held_RANK.json`."""

    def before_train(self, runner) -> None:
        units = [name for name, module in runner.model.named_modules() if hasattr(module, "_flat_param")]
        held = sum(param.numel() for param in runner.model.parameters())
        Path(runner.work_dir, f"held_{get_rank()}.json").write_text(json.dumps(dict(held=held, units=units)))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loss = outputs["loss"].detach().double().clone()
        all_reduce(loss, op="mean")
        norm = runner.message_hub.get_scalar("train/grad_norm").current()
        lr = {name: values[0] for name, values in runner.optim_wrapper.get_lr().items()}
        if get_rank() == 0:
            with open(Path(runner.work_dir, "trail.jsonl"), "a") as file:
                file.write(json.dumps([loss.item(), float(norm), lr["lr"], lr["base_lr"]]) + "\n")


def run_tool(folder: Path, tool: str, *args, processes: int = 1, port: int = 0) -> list[int]:
    """Run a tool on the CPU in a folder; what it prints is appended to `tool.log` there; return the exit statuses."""
    if port:
        args = (*args, "--launcher", "pytorch")
    ranks = []
    for rank in range(processes):
        env = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        ranks.append(start(_main, str(folder), [tool, *map(str, args)], env if port else {}))
    for process in ranks:
        process.join(240)
    return [process.exitcode for process in ranks]


def _main(folder: str, words: list[str], env: dict) -> None:
    os.chdir(folder)
    os.environ.update({name: str(value) for name, value in env.items()})
    sys.stdout = sys.stderr = open("tool.log", "a", buffering=1)  # noqa: SIM115, until the process ends
    sys.argv = words
    tools = HELPERS.parents[1] / "tools"
    sys.path[:0] = [str(tools), str(HELPERS)]  # the tools replace the first
    torch.set_num_threads(1)
    runpy.run_path(str(tools / f"{words[0]}.py"), run_name="__main__")
