"""Print the transfer table of finished runs."""
import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "work_dirs", nargs="+", help="folders that hold result.json files, at any depth: transfers and pretrainings"
    )
    parser.add_argument("--format", choices=("md", "csv", "latex", "json"), default="md")
    parser.add_argument("--baseline", metavar="LABEL", help="row that differences are taken to (default: random init)")
    parser.add_argument(
        "--metrics",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help="columns, by their names in the records (default: knn_top1,top1,box_ap,mask_ap,miou)",
    )
    parser.add_argument("--digits", type=int, default=1, help="digits behind the point in md and latex (default: 1)")
    parser.add_argument("--out", metavar="FILE", help="write there instead of to the screen")
    return parser.parse_args()


def main() -> None:
    """Read, join, print. Needs no torch, so it answers at once."""
    args = parse_args()
    from mimtransfer.errors import clean_exit

    with clean_exit():
        from mimtransfer.results.protocol_check import ProtocolMismatch
        from mimtransfer.results.render import FORMATS
        from mimtransfer.results.table import build_table, read_runs

        try:
            table = build_table(read_runs(args.work_dirs), args.metrics, args.baseline)
        except ProtocolMismatch as error:
            print("\n".join(error.details), file=sys.stderr)
            raise
        text = FORMATS[args.format](table, args.digits)
        if args.format == "csv":  # has no place for them
            for note in table.notes:
                print(f"note: {note}", file=sys.stderr)
        if args.out:
            Path(args.out).write_text(text, encoding="utf-8")
        else:
            sys.stdout.reconfigure(encoding="utf-8")
            sys.stdout.write(text)


if __name__ == "__main__":
    main()
