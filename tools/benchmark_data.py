"""Time ways to read, crop and resize the images of a source, in one run, in turns; the last line is a ratio.

    python tools/benchmark_data.py data/photos
    python tools/benchmark_data.py data/prepared --against data/photos      ours on one, torchvision on the other
    python tools/benchmark_data.py data/photos --workers 4 --out result.json

Each way shows the same images with random resized crops (area 0.2 to 1) and flips, as tensors: ours by each decoder,
and torchvision's ImageFolder transforms on Pillow images. Without `--workers` one thread of this process works, and
CPU time is counted; with them the data loaders of torch, with batches, and wall-clock time beside it.
`device` is our default decoder with `augment='device'`: the worker's share alone, without the resizing and flipping
that the training device does, and what its larger samples cost there.
Turns: A B A B ..., the ratio is taken round by round; the last line gives the median for our default decoder.
A turn shows the images as often as it takes to last `--seconds`: an epoch of few batches is mostly its own start, of
which a real one, of thousands, does not show anything.
"""
import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

Way = Callable[[range], Iterable]  # epochs of the images' record -> what is shown, one image or one batch at a time


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="what `ImageSource` reads")
    parser.add_argument("--against", metavar="FOLDER", help="what torchvision reads; default: the first source")
    parser.add_argument("--size", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--workers", type=int, default=0, help="loader workers; 0: this process, one thread")
    parser.add_argument("--batch-size", type=int, default=64, help="with --workers")
    parser.add_argument("--num-images", type=int, default=200, help="of each source, evenly spaced")
    parser.add_argument("--rounds", type=int, default=7, help="timed turns of each way; one more warms up")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a turn lasts at least")
    parser.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args()
    for name in ("size", "batch_size", "num_images", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    if not 0 <= args.seconds <= 3600:
        parser.error("--seconds must be 0 to 3600")
    return args


def our_way(source: str, decoder: str, args: argparse.Namespace, augment: str = "host") -> tuple[Way, int]:
    """Return a source as pretraining reads it."""
    from mimtransfer.datasets.collate import stack_images
    from pretrain.data import ImageSource

    transform = dict(type="RandomResizedCropFlip", size=args.size)
    images = ImageSource(transform, source, seed=0, decoder=decoder, augment=augment)
    return _way(images, args, stack_images)


def torchvision_way(folder: str, args: argparse.Namespace) -> tuple[Way, int]:
    """Return what a user of torchvision writes: Pillow, RandomResizedCrop and RandomHorizontalFlip."""
    from PIL import Image
    from torchvision.transforms import Compose, InterpolationMode, PILToTensor, RandomHorizontalFlip, RandomResizedCrop

    from pretrain.data import ImageFolder

    crop = RandomResizedCrop(args.size, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
    images = _PlainImages(ImageFolder(dict(type="ResizeWhole", size=args.size), folder),
                          Compose([crop, RandomHorizontalFlip(), PILToTensor()]), Image)
    return _way(images, args)


class _PlainImages:
    """Image files by number, read and augmented as torchvision's ImageFolder does it."""

    def __init__(self, found, transform, reader):
        self.found, self.transform, self.reader = found, transform, reader

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, item: tuple[int, int]):
        with open(self.found.name(item[1]), "rb") as file:
            return self.transform(self.reader.open(file).convert("RGB"))


def _way(images, args: argparse.Namespace, collate: Callable | None = None) -> tuple[Way, int]:
    """Return what shows images of a data set, evenly spaced, and how many; `collate` None: torch's default."""
    count = min(len(images), args.num_images)
    indices = [i * len(images) // count for i in range(count)]
    if not args.workers:
        return lambda epochs: (images[epoch, index] for epoch in epochs for index in indices), count
    from torch.utils.data import DataLoader

    order = _Order(indices)
    loader = DataLoader(images, args.batch_size, sampler=order, num_workers=args.workers, collate_fn=collate,
                        persistent_workers=True)

    def show(epochs: range) -> Iterable:
        order.epochs = epochs
        return loader

    return show, count


class _Order:
    """A sampler: the same images in each epoch, several epochs without a break."""

    def __init__(self, indices: list[int]):
        self.indices, self.epochs = indices, range(1)

    def __len__(self) -> int:
        return len(self.epochs) * len(self.indices)

    def __iter__(self):
        return ((epoch, index) for epoch in self.epochs for index in self.indices)


def seconds_of(way: Way, epochs: range, wall: bool) -> float:
    """Return the seconds of one turn: CPU time of this process, or wall-clock time."""
    clock = time.perf_counter if wall else time.process_time
    began = clock()
    for _ in way(epochs):
        pass
    return clock() - began


def epochs_of_turn(way: Way, args: argparse.Namespace) -> int:
    """Return how many epochs last `--seconds`: the first one warms up and starts the workers, the next one is timed."""
    seconds_of(way, range(1), args.workers > 0)
    return max(1, math.ceil(args.seconds / seconds_of(way, range(1, 2), args.workers > 0)))


def measure(ways: dict[str, tuple[Way, int]], epochs: dict[str, int], args: argparse.Namespace) -> dict[str, list]:
    """Return the seconds per image of each turn of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1, args.rounds + 1):
        for name, (way, count) in ways.items():
            shown = range(turn * epochs[name], (turn + 1) * epochs[name])
            times[name].append(seconds_of(way, shown, args.workers > 0) / (count * len(shown)))
    return times


def main() -> None:
    """Measure, print a table, and the ratio of our default to torchvision."""
    args = parse_args()
    import torch

    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.files import write_atomically
    from pretrain.data.decoding import choose_decoder

    torch.set_num_threads(1)
    with clean_exit():
        peer = args.against or args.sources[0]
        ways = {f"torchvision + PIL, {peer}": torchvision_way(peer, args)}
        for source in args.sources:
            ways[f"ours, device (worker's share), {source}"] = our_way(source, "auto", args, "device")
            for decoder in ("pillow", "auto"):
                ways[f"ours, {decoder}, {source}"] = our_way(source, decoder, args)
        epochs = {name: epochs_of_turn(way, args) for name, (way, _) in ways.items()}
        times = measure(ways, epochs, args)
        base = next(iter(times.values()))
        unit = "images per second" if args.workers else "images per CPU-second"
        rows: dict[str, dict] = {}
        for name, seconds in times.items():
            ratios = sorted(b / s for b, s in zip(base, seconds))
            turn = ways[name][1] * epochs[name]
            spread = dict(ratio=statistics.median(ratios), low=ratios[0], high=ratios[-1])
            rows[name] = dict(seconds=seconds, images_per_turn=turn, **spread)
        print(f"{unit}, {args.size} pixels, workers {args.workers}, {args.rounds} rounds in turns; "
              f"auto is {choose_decoder().__module__.rsplit('.', 1)[-1]}")
        for name, row in rows.items():
            print(f"{name:60} {1 / statistics.median(row['seconds']):8.0f}   "
                  f"{row['ratio']:5.2f} x ({row['low']:.2f} to {row['high']:.2f})")
        if args.out:
            figures = dict(vars(args), unit=unit, torch=torch.__version__, ways=rows)
            write_atomically(args.out, json.dumps(figures, indent=1))
        print(f"ratio to torchvision+PIL: {rows[name]['ratio']:.2f}")


if __name__ == "__main__":
    main()
