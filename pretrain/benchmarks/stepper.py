"""A process that does training steps when it is asked to: what tools/compare_time.py runs with the code of a revision.

    PYTHONPATH=CHECKOUT python stepper.py CONFIG BATCH_SIZE [KEY=VALUE ...]

Reads numbers of steps from its input, a line each, and writes the seconds of one step as JSON, `{"cpu", "wall"}`; first
`{}` when it is ready. It may use only what revisions of long ago have, too, so it repeats what it needs of steps.py.
"""
import json
import os
import sys
import time
from collections.abc import Callable


def build_step(config: str, batch: int, options: list[str]) -> Callable[[], object]:
    """Return a training step of a pretraining config on made-up images, with made-up maps where it reads maps.

    Raises:
        SystemExit: a config of something else; one line says so.
    """
    keep_memory()
    import torch
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    import pretrain.methods  # noqa: F401  registers them
    from mimtransfer.cli.launch import load_config
    from mimtransfer.registry import MODELS
    from pretrain.aug_record import AugRecord
    from pretrain.masking.bank import MapBank
    from pretrain.masking.measured import Measured

    init_default_scope("mimtransfer")
    cfg = load_config(config, options)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    if not hasattr(model, "encoder"):
        sys.exit(f"it trains {type(model).__name__}, no method of pretraining; give a config of tools/pretrain.py")
    cfg.optim_wrapper.accumulative_counts = 1  # as steps.py
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    grid = model.encoder.grid_size
    height, width = (cells * patch for cells, patch in zip(grid, model.encoder.patch_size))
    inputs = torch.randint(0, 256, (batch, getattr(model, "in_chans", 3), height, width), dtype=torch.uint8)
    numbers = torch.arange(batch)
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(batch, 1)
    record = AugRecord(numbers, numbers, box, torch.zeros(batch, dtype=torch.bool))
    if isinstance(model.strategy, Measured):
        model.strategy.bank = MapBank(torch.rand(batch, *grid).half())
    return lambda: model.train_step(dict(inputs=inputs, record=record), optim_wrapper)


def keep_memory() -> None:
    """Let freed memory stay with the process, as in a training, where the revision does so. Before the first tensor."""
    try:
        from mimtransfer.training.host_memory import keep_freed_memory
    except ImportError:
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    keep_freed_memory()


def time_steps(step: Callable[[], object], steps: int) -> dict[str, float]:
    """Return the seconds of one of several steps: CPU time of the process, and wall-clock time."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        step()
    taken = dict(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)
    return {kind: seconds / steps for kind, seconds in taken.items()}


def main() -> None:
    """Answer until the input ends."""
    del sys.path[0]  # this folder, of another revision than the code on the path
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    step = build_step(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(time_steps(step, int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
