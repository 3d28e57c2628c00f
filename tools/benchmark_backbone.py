"""Time forward and backward of TimmViT as in ViTDet against detectron2's own ViT, and measure their peak memory.

    python tools/benchmark_backbone.py --detectron2 PATH/TO/detectron2 --image-size 512
    python tools/benchmark_backbone.py --detectron2 PATH/TO/detectron2 --amp --batch-size 8 --out result.json

detectron2 need not be installed: only its files `modeling/backbone/{vit,utils}.py` run, from a checkout, and they need
little of the rest. Both get the same weights, whose maps are compared first.
Time: both in one process, in turns, so that a machine that slows down slows down both; ratios are taken turn by turn.
Memory: each in a process of its own, the most that it held during two steps beyond what it held before them, weights
and images: resident memory on the CPU, allocated tensors on CUDA.
"""
import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

# As in benchmark.py: this folder first on the path would hide packages behind scripts.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

NAMES = ("mimtransfer", "detectron2")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectron2", required=True, metavar="PATH", help="checkout of detectron2")
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10, help="timed turns of each")
    parser.add_argument("--warmup", type=int, default=1, help="turns of each before the clock runs")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")
    parser.add_argument("--cpu-time", action="store_true",
                        help="count CPU seconds of the process, not of the wall: for one thread (OMP_NUM_THREADS=1) on "
                             "a machine that others use")
    parser.add_argument("--out", help="write the figures as JSON")
    return parser.parse_args()


def build(name: str, args: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Return a forward pass, and one with its backward pass, of a model whose weights depend on their names alone."""
    import torch

    from mimtransfer.benchmarks.peers import detectron2_vit
    from mimtransfer.benchmarks.transfer_steps import backbone_step, vitdet_backbone

    model = vitdet_backbone() if name == "mimtransfer" else detectron2_vit(args.detectron2)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            parameter.normal_(std=0.02, generator=generator).add_(key.endswith(("norm1.weight", "norm2.weight")))
    model.to(args.device).train()
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch_size, 3, args.image_size, args.image_size)
    images = torch.randn(shape, generator=generator).to(args.device)

    def last(maps: Any) -> torch.Tensor:
        return maps[0] if name == "mimtransfer" else maps["last_feat"]

    def forward() -> torch.Tensor:
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.amp):
            return last(model(images))

    return forward, backbone_step(model, images, args.amp, last)


def measure_memory(name: str, args: argparse.Namespace) -> int:
    """Return the bytes that two steps need at most beyond weights and images. To be called in a fresh process."""
    import torch

    _, step = build(name, args)
    if args.device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        step(), step()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    step(), step()
    return resident("VmHWM") - before


def resident(key: str) -> int:
    """Return bytes of this process in memory: now (VmRSS), or at most since it began (VmHWM).

    `ru_maxrss` will not do: a child begins with the peak of the process that started it.
    """
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def measure_seconds(args: argparse.Namespace) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each turn of both, and how far their maps differ at most, relative to the largest value."""
    import torch

    built = {name: build(name, args) for name in NAMES}
    with torch.no_grad():
        ours, theirs = (built[name][0]().float() for name in NAMES)
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(args.warmup + args.rounds):
        for name, (_, step) in built.items():
            begin = clock(args)
            step()
            if turn >= args.warmup:
                seconds[name].append(clock(args) - begin)
                print(f"turn {turn - args.warmup + 1}: {seconds[name][-1]:.3f} s {name}", file=sys.stderr, flush=True)
    return seconds, difference


def clock(args: argparse.Namespace) -> float:
    """Return the time when all work so far is done."""
    import torch

    if args.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.process_time() if args.cpu_time else time.perf_counter()


def main() -> None:
    """Measure, print."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        import torch

        from mimtransfer.training.precision import allow_tf32

        allow_tf32()
        args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        seconds, difference = measure_seconds(args)
        memory = {}
        for name in NAMES:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                memory[name] = pool.submit(measure_memory, name, args).result()
        ratios = sorted(theirs / ours for ours, theirs in zip(*seconds.values()))
        low, middle, high = (ratios[round(share * (len(ratios) - 1))] for share in (0.1, 0.5, 0.9))
        print(f"{'images/s':>10} {'step ms':>10} {'peak MiB':>10}")
        rows = []
        for name in NAMES:
            step = statistics.median(seconds[name])
            rows.append(dict(name=name, images_per_s=args.batch_size / step, seconds=seconds[name],
                             memory_bytes=memory[name]))
            print(f"{args.batch_size / step:10.3f} {step * 1e3:10.0f} {memory[name] / 2**20:10.0f}  {name}")
        print(f"mimtransfer is {middle:.3f} x as fast (10th to 90th percentile of turns {low:.3f} - {high:.3f}), with "
              f"{memory['mimtransfer'] / memory['detectron2']:.3f} of the memory; maps differ by {difference:.1e}")
        if args.out:
            cuda = args.device.startswith("cuda")
            machine = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
            setting = dict(vars(args), device=machine)
            with open(args.out, "w") as file:
                json.dump(dict(setting=setting, torch=torch.__version__, ratio=middle, ratio_p10=low, ratio_p90=high,
                               difference=difference, rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
