"""Compare the scores of two checkpoints on the same images: paired bootstrap over the images.

    python tools/test.py CONFIG work_dirs/a --save-predictions       # the same for b
    python tools/compare_scores.py work_dirs/a work_dirs/b

Box AP, mask AP and mIoU, by size and by class, with intervals of each score and of their difference, and its p. They
say how much the images that were tested on decide; a training with another seed is not seen by them.
"""
import argparse
import os
import sys

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("first", metavar="A", help="work dir of tools/test.py --save-predictions, or a COCO json of results")
    add("second", metavar="B", nargs="?", help="the same of the other checkpoint (default: the scores of A alone)")
    add("--ann-file", metavar="JSON", help="COCO json of the ground truth (default: the one that was tested on)")
    add("--resamples", type=int, default=1000, metavar="N", help="multisets of images drawn (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the drawing (default: %(default)s)")
    add("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    add("--classes", action="store_true", help="print the classes, too; p is corrected for their number (Holm)")
    add("--out", metavar="FILE.json", help="also write all of it, classes included, as JSON")
    args = parser.parse_args()
    if not (0 < args.level < 1 and 1 <= args.resamples <= 1_000_000 and args.seed >= 0):
        parser.error("expected --level between 0 and 1, --resamples of 1 to 1,000,000 and --seed of 0 or more")
    return args


def main() -> None:
    """Read, resample, tell."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        import json

        from mimtransfer.checks.comparison import score_all
        from mimtransfer.errors import UserError
        from mimtransfer.evaluation.comparison import report
        from mimtransfer.files import write_atomically

        places = tuple(place for place in (args.first, args.second) if place is not None)
        if args.out is not None and not os.path.isdir(os.path.dirname(args.out) or "."):
            raise UserError(f"--out {args.out}: there is no such folder")
        scores, num_images = score_all(places, args.ann_file, args.resamples, args.seed)
        found = report.compared(scores[0], scores[1] if len(scores) == 2 else None, args.level)
        names = ("A", "B")[: len(places)]
        print(*(f"{name}: {place}" for name, place in zip(names, places)), sep="\n")
        print(f"points, [{100 * args.level:g} % interval] by {args.resamples} resamples of {num_images} images, seed "
              f"{args.seed}" + ("; difference: B - A" if len(places) == 2 else ""))  # fmt: skip
        print(*report.lines(found, names, args.classes), sep="\n")
        if args.out is not None:
            drawn = {"images": num_images, "resamples": args.resamples, "seed": args.seed, "level": args.level}
            content = {"schema": 1, **dict(zip(("first", "second"), places)), **drawn, **found}
            write_atomically(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
