"""Measure mean and std of each channel of a data set, for the normalisation of a config.

    python tools/dataset_stats.py data/tiles --out data/tiles.json
    data_preprocessor=dict(type='BandPreprocessor', statistics='data/tiles.json')

SOURCE is a folder of images, tar shards, a zip file, parquet, or a saved Hugging Face data set; images have 1 to 16
channels of uint8, uint16 or float32: TIFF, GeoTIFF, .npy, and what Pillow reads. Each is read once, nothing is kept.
"""
import argparse
import os
import sys

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="images that are measured")
    parser.add_argument("--out", default="statistics.json", help="JSON file to write (default: %(default)s)")
    parser.add_argument("--in-chans", type=int, metavar="N", help="channels expected (default: as the first image)")
    parser.add_argument("--split", default="train", help="of a saved Hugging Face data set")
    parser.add_argument("--max-corrupt", type=int, default=10, metavar="N", help="leave out up to N unreadable images")
    return parser.parse_args()


def main() -> None:
    """Measure, write, and say what was found."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        import json

        from tqdm import tqdm

        from mimtransfer.checkpoints.channels import check_in_chans
        from mimtransfer.datasets.bands import BAND_EXTENSIONS
        from mimtransfer.datasets.sources.recognise import open_source
        from mimtransfer.datasets.statistics import measure
        from mimtransfer.errors import UserError
        from mimtransfer.files import write_atomically

        if args.in_chans is not None:
            check_in_chans("--in-chans", args.in_chans)
        if args.max_corrupt < 0:
            raise UserError(f"--max-corrupt {args.max_corrupt}: expected an integer >= 0")
        source = open_source(args.source, split=args.split, extensions=BAND_EXTENSIONS)
        with tqdm(total=len(source), unit=" images", disable=None) as bar:
            found, left_out = measure(source, args.in_chans, args.max_corrupt, lambda done, _: bar.update(done - bar.n))
        os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
        write_atomically(args.out, json.dumps(found.as_dict(), indent=1) + "\n")
        for line in left_out:
            print(f"left out: {line}")
        for channel, (mean, std, low, high) in enumerate(zip(found.mean, found.std, found.min, found.max)):
            print(f"channel {channel}: mean {mean:.6g}, std {std:.6g}, {low:g} to {high:g}")
        print(f"{args.out}: {found.images} images of {found.in_chans} channels, {found.dtype}, {found.pixels:,} pixels "
              f"each; name it by data_preprocessor=dict(statistics='{args.out}')")


if __name__ == "__main__":
    main()
