"""Write images once in the form that is read fastest: reduced, upright, in tar shards; for `ImageSource`.

    python tools/prepare_data.py data/imagenet/train data/imagenet-256
    python tools/prepare_data.py data/imagenet/train data/imagenet-256-raw --format raw

SOURCE is a folder of images, tar shards, a zip file, parquet, or a saved Hugging Face data set. Class folders and class
numbers are kept. A run that was stopped goes on when it is started again. `prepared.json` in the new folder holds the
sha256 of everything, and the images that could not be read.
"""
import argparse
import os
import sys

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="what is read")
    parser.add_argument("folder", help="what is written; new, or begun by the same command")
    parser.add_argument("--short-side", type=int, default=256, help="reduce larger images to it, in pixels")
    parser.add_argument("--format", default="jpeg", help="jpeg, webp, or raw (uint8 pixels)")
    parser.add_argument("--quality", type=int, default=90, help="of jpeg and webp")
    parser.add_argument("--images-per-shard", type=int, default=2000)
    parser.add_argument("--split", default="train", help="of a saved Hugging Face data set")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: all cores")
    parser.add_argument("--max-corrupt", type=int, default=10, metavar="N", help="leave out up to N unreadable images")
    return parser.parse_args()


def main() -> None:
    """Prepare the images and say what is there."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from tqdm import tqdm

        from mimtransfer.errors import UserError
        from pretrain.data.prepare import Preparation, prepare

        for name in ("workers", "max_corrupt"):
            if getattr(args, name) < (name == "workers"):
                raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: expected {int(name == 'workers')} "
                                "or more")
        how = Preparation(args.short_side, args.format, args.quality, args.images_per_shard)
        with tqdm(unit=" images", disable=None) as bar:
            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            found = prepare(args.source, args.folder, how, args.workers, args.max_corrupt, args.split, show)
        for line in found["unreadable"]:
            print(f"left out: {line}")
        print(f"{args.folder}: {found['images']} images in {len(found['shards'])} shards, "
              f"{found['bytes'] / 1e6:.1f} MB, {len(found['unreadable'])} left out; sha256 {found['sha256']}\n"
              f"read them with dataset=dict(type='ImageSource', source='{args.folder}')")


if __name__ == "__main__":
    main()
