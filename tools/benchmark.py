"""Time pretraining steps of several configs in one run, in turns, and print the ratios to the first.

    python tools/benchmark.py configs/pretrain/mae_vit-base_800e_in1k.py --batch-size 8
    python tools/benchmark.py A.py B.py --batch-size 64 --amp --compile --out result.json
    python tools/benchmark.py A.py --reference other_code.py
    python tools/benchmark.py A.py B.py --parts          also: drawing a layout, measuring maps; MFM: filter, loss

Strategies that read maps get random ones. Predicted: operations of a step, forward and backward, counted by torch.
A reference is a Python file with `build(batch_size, image_size, device) -> step`, where `step()` does one whole
training step of other code.
Turns: A B A B ..., so that a machine that slows down slows down both; the ratio is taken round by round.
"""
import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py instead of
# the package.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "configs", nargs="+", help="pretraining configs; the first is what the others are compared with"
    )
    parser.add_argument(
        "--reference", action="append", default=[], metavar="FILE", help="other code to time, see above"
    )
    parser.add_argument("--parts", action="store_true", help="also time drawing, measuring, filtering alone")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10, help="timed turns of each")
    parser.add_argument("--steps", type=int, default=1, help="steps in a turn")
    parser.add_argument("--warmup", type=int, default=2, help="turns of each before the clock runs")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast (configs only)")
    parser.add_argument("--compile", action="store_true", help="torch.compile (configs only)")
    parser.add_argument("--out", help="write the figures as JSON")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of all configs"
    )
    return parser.parse_args()


class Contender(NamedTuple):
    """What is timed, and what it costs on paper."""

    step: Callable[[], object]
    flops: int | None = None  # of one call


def build_contenders(path: str, args: argparse.Namespace, device: str) -> tuple[dict[str, Contender], int]:
    """Return a training step of a config on made-up images and, with `--parts`, its parts; and the image height."""
    import torch
    from mmengine.optim import build_optim_wrapper

    from mimtransfer.cli.launch import load_config
    from mimtransfer.registry import MODELS
    from pretrain.aug_record import AugRecord
    from pretrain.hooks.map_bank import measure_maps
    from pretrain.masking.bank import MapBank
    from pretrain.masking.measured import Measured
    from pretrain.methods.mfm import MFM

    cfg = load_config(path, args.cfg_options)
    cfg.model.compile_loss = args.compile
    if args.amp:
        cfg.optim_wrapper.type = "Bf16OptimWrapper"
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    height, width = (n * p for n, p in zip(model.encoder.grid_size, model.encoder.patch_size))
    batch = args.batch_size
    inputs = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, device=device)
    seeds = torch.arange(batch, device=device)
    box = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).repeat(batch, 1)
    record = AugRecord(seeds, seeds, box, torch.zeros(batch, dtype=torch.bool, device=device))
    data = dict(inputs=inputs, record=record)
    images = model.data_preprocessor(data, training=True)["inputs"]
    measured = isinstance(model.strategy, Measured)
    if measured:
        model.strategy.bank = MapBank(torch.rand(batch, *model.encoder.grid_size).half())
    contenders = {path: Contender(lambda: model.train_step(data, optim_wrapper), count_flops(model, images, record))}
    if args.parts and isinstance(model, MFM):
        prediction = torch.randn_like(images, requires_grad=True)

        def filter_and_compare() -> None:
            drawn = model.draw_layout(images, record)
            model.frequency_loss(prediction, images, drawn.kept).backward()

        contenders[f"{path}: filter and loss"] = Contender(filter_and_compare)
    elif args.parts:
        contenders[f"{path}: drawing a layout"] = Contender(lambda: model.draw_layout(images, record))
    if args.parts and measured:
        contenders[f"{path}: measuring maps"] = Contender(lambda: measure_maps(model, inputs, amp=True))
    return contenders, height


def count_flops(model, images, record) -> int:
    """Count the operations of a loss and its gradients: matrix products and convolutions, attention included."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()  # eager: the counter sees no operators of a compiled loss
    # Unfused: the counter knows no fused attention of the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        sum(model.loss(images, model.draw_layout(images, record)).values()).backward()
    model.train().zero_grad()
    return counter.get_total_flops()


def load_reference(path: str, batch_size: int, image_size: int, device: str) -> Callable[[], object]:
    """Return the step of other code; see the module."""
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(batch_size, image_size, device)


def measure(
    contenders: dict[str, Contender], args: argparse.Namespace, device: str
) -> dict[str, dict[str, list[float]]]:
    """Run all contenders in turns. Returns seconds of a step for each turn, and the highest memory of its turns in
    bytes (CUDA only).
    """
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    figures: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "memory": []} for name in contenders}
    for turn in range(args.warmup + args.rounds):
        for name, (step, _) in contenders.items():
            if device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            wait()
            begin = time.perf_counter()
            for _ in range(args.steps):
                step()
            wait()
            if turn >= args.warmup:
                figures[name]["seconds"].append((time.perf_counter() - begin) / args.steps)
                if device.startswith("cuda"):
                    figures[name]["memory"].append(torch.cuda.max_memory_allocated())
    return figures


def predicted(contender: Contender, first: Contender) -> float | None:
    """Return the ratio of operations to the first."""
    return None if contender.flops is None or first.flops is None else contender.flops / first.flops


def main() -> None:
    """Build, measure, print."""
    args = parse_args()
    from mimtransfer.cli.explain import clean_exit

    with clean_exit():
        import torch
        from mmengine.registry import DefaultScope

        import pretrain.methods  # noqa: F401

        DefaultScope.get_instance("benchmark", scope_name="mimtransfer")
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        contenders: dict[str, Contender] = {}
        size = 0
        for path in args.configs:
            found, height = build_contenders(path, args, device)
            contenders |= found
            size = size or height
        for path in args.reference:
            contenders[path] = Contender(load_reference(path, args.batch_size, size, device))
        figures = measure(contenders, args, device)

        first = figures[args.configs[0]]["seconds"]
        rows = []
        for name, figure in figures.items():
            ratios = [own / other for own, other in zip(figure["seconds"], first)]
            rows.append(
                dict(
                    name=name,
                    seconds=statistics.median(figure["seconds"]),
                    images_per_s=args.batch_size / statistics.median(figure["seconds"]),
                    ratio=statistics.median(ratios),
                    ratio_min=min(ratios),
                    ratio_max=max(ratios),
                    predicted=predicted(contenders[name], contenders[args.configs[0]]),
                    memory_bytes=max(figure["memory"], default=None),
                )
            )
        print(f"{'step ms':>10} {'images/s':>10} {'time / first (min-max)':>26} {'predicted':>10}  name")
        for row in rows:
            spread = f"{row['ratio']:.3f} ({row['ratio_min']:.3f}-{row['ratio_max']:.3f})"
            paper = "-" if row["predicted"] is None else f"{row['predicted']:.3f}"
            print(f"{row['seconds'] * 1e3:10.1f} {row['images_per_s']:10.1f} {spread:>26} {paper:>10}  {row['name']}")
        if args.out:
            cuda = device.startswith("cuda")
            machine = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
            setting = dict(vars(args), device=machine)
            with open(args.out, "w") as file:
                json.dump(dict(setting=setting, torch=torch.__version__, rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
