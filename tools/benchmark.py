"""Time pretraining steps of several configs in one run, in turns, and print the ratios to the first.

    python tools/benchmark.py configs/pretrain/mae_vit-base_800e_in1k.py --batch-size 8
    python tools/benchmark.py A.py B.py --batch-size 64 --amp --compile --out result.json
    python tools/benchmark.py A.py --reference other_code.py
    python tools/benchmark.py A.py B.py --parts          also: drawing a layout, measuring maps; MFM: filter, loss
    python tools/benchmark.py A.py B.py --images FOLDER  each step also reads its batch: decoding, augmentation

Strategies that read maps get random ones. Predicted: operations of a step, forward and backward, counted by torch.
A reference is a Python file with `build(batch_size, image_size, device) -> step`, where `step()` does one whole
training step of other code.
A mask: the ratio divided by the `masks_per_image` of the config; it is printed where a config has several.
Turns: A B A B ..., so that a machine that slows down slows down both; the ratio is taken round by round.
"""
import argparse
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimtransfer.benchmarks.timing import Contender

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
    parser.add_argument("--images", metavar="FOLDER", help="read batches from image files (default: made-up ones)")
    parser.add_argument("--workers", type=int, default=0, metavar="N",
                        help="loader processes of --images (default: 0, decoding in this process)")
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
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as tools/pretrain.py
    return parser.parse_args()


def load_reference(path: str, batch_size: int, image_size: int, device: str) -> Callable[[], object]:
    """Return the step of other code; see the module."""
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(batch_size, image_size, device)


def predicted(contender: "Contender | None", first: "Contender | None") -> float | None:
    """Return the ratio of operations to the first."""
    if contender is None or first is None or contender.flops is None or first.flops is None:
        return None
    return contender.flops / first.flops


def main() -> None:
    """Build, measure, print."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from functools import partial
        from pathlib import Path

        import torch

        from mimtransfer.benchmarks.timing import Contender, measure
        from mimtransfer.training.precision import in_force, in_words
        from pretrain.benchmarks.loading import build_loader
        from pretrain.benchmarks.steps import PretrainSteps, load

        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        builders: dict[str, Callable[[], Contender]] = {}
        size, masks = 0, {}
        for path in args.configs:
            backend = "inductor" if args.compile else None
            steps = PretrainSteps(load(path, args.cfg_options, args.amp), args.batch_size, device, backend)
            print(f"{path}: {in_words(in_force(steps.model, steps.optim_wrapper))}")
            size = size or steps.height
            masks[path] = steps.model.masks_per_image
            loader = None
            if args.images:
                loader = build_loader(steps.cfg, Path(args.images), args.batch_size, args.workers)
            builders[path] = partial(steps.step, loader)
            for part, call in steps.parts().items() if args.parts else ():
                builders[f"{path}: {part}"] = lambda call=call: Contender(call, args.batch_size)  # type: ignore[misc]
        for path in args.reference:
            step = load_reference(path, args.batch_size, size, device)
            builders[path] = lambda step=step: Contender(step, args.batch_size)  # type: ignore[misc]
        found = measure(builders, device, args.rounds, args.steps, args.warmup)

        first, figure = found[args.configs[0]]
        rows = []
        for name, (contender, own) in found.items():
            ratios = [one / other for one, other in zip(own.seconds, figure.seconds)]
            rows.append(
                dict(
                    name=name,
                    seconds=statistics.median(own.seconds),
                    images_per_s=args.batch_size / statistics.median(own.seconds),
                    ratio=statistics.median(ratios),
                    ratio_min=min(ratios),
                    ratio_max=max(ratios),
                    masks_per_image=masks.get(name, 1),
                    predicted=predicted(contender, first),
                    memory_bytes=own.memory,
                )
            )
        several = max(masks.values()) > 1
        heads = f"{'a mask':>10} " if several else ""
        print(f"{'step ms':>10} {'images/s':>10} {'time / first (min-max)':>26} {heads}{'predicted':>10}  name")
        for row in rows:
            spread = f"{row['ratio']:.3f} ({row['ratio_min']:.3f}-{row['ratio_max']:.3f})"
            paper = "-" if row["predicted"] is None else f"{row['predicted']:.3f}"
            each = f"{row['ratio'] / row['masks_per_image']:10.3f} " if several else ""
            print(f"{row['seconds'] * 1e3:10.1f} {row['images_per_s']:10.1f} {spread:>26} {each}{paper:>10}  "
                  f"{row['name']}")
        if args.out:
            cuda = device.startswith("cuda")
            machine = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
            setting = dict(vars(args), device=machine)
            with open(args.out, "w") as file:
                json.dump(dict(setting=setting, torch=torch.__version__, rows=rows), file, indent=1)


if __name__ == "__main__":
    main()
