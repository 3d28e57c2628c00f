"""Print the transfer table of finished runs, write it as a report, or check the files behind it."""
import argparse
import io
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__)
    parser.add_argument(
        "work_dirs", nargs="+", help="folders that hold result.json files, at any depth: transfers and pretrainings"
    )
    parser.add_argument(
        "--format",
        choices=("md", "csv", "latex", "paper", "json", "html"),
        default="md",
        help="paper: LaTeX with columns grouped by task, without costs that are the same in all rows",
    )
    parser.add_argument("--baseline", metavar="LABEL", help="row that differences are taken to (default: random init)")
    parser.add_argument(
        "--metrics",
        type=lambda text: text.split(","),
        metavar="NAME,...",
        help="columns, by their names in the records (default: the main ones: top1, box_ap, miou ...)",
    )
    parser.add_argument(
        "--published",
        metavar="FILE",
        help="add rows of numbers printed elsewhere, with their sources: docs/results/published.json or your own",
    )
    parser.add_argument(
        "--across-backbones",
        action="store_true",
        help="let runs that differ in the settings of the backbone share a column; a note says what differs",
    )
    parser.add_argument(
        "--digits", type=int, default=1, help="digits behind the point in md, latex, paper, html (default: 1)"
    )
    parser.add_argument("--title", default="Transfer results", help="heading of the html report")
    parser.add_argument("--note", metavar="TEXT", help="a sentence about all of it, before the other notes")
    parser.add_argument("--out", metavar="FILE", help="write there instead of to the screen")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="make no table: compare checkpoints and configs with the sha256 in the records; status 1 when any changed",
    )
    return parser.parse_args()


def main() -> None:
    """Read, join, print; needs no torch."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.errors import UserError

    with clean_exit():
        if args.verify:
            from mimtransfer.results.verify import report, verify

            findings, well = verify(args.work_dirs)
            print(report(findings), end="")
            sys.exit(not well)
        if args.format == "html" and not args.out:
            raise UserError("--format html: name the file with --out report.html")
        table = make_table(args)
        if args.format == "html":
            from mimtransfer.results.report.page import html_page

            text = html_page(table, args.digits, args.title, Path(args.out).parent)
        else:
            from mimtransfer.results.render import FORMATS

            text = FORMATS[args.format](table, args.digits)
        if args.format == "csv":  # has no place for them
            for note in table.notes:
                print(f"note: {note}", file=sys.stderr)
        if args.out:
            Path(args.out).write_text(text, encoding="utf-8")
        else:
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(encoding="utf-8")
            sys.stdout.write(text)


def make_table(args: argparse.Namespace):
    """Read the records and join them; says on the screen which runs cannot share a column."""
    from mimtransfer.results.record import read_runs
    from mimtransfer.results.table import ProtocolMismatch, build_table, read_published

    try:
        table = build_table(read_runs(args.work_dirs), args.metrics, args.baseline, args.across_backbones)
    except ProtocolMismatch as error:
        print("\n".join(error.details), file=sys.stderr)
        raise
    if args.note:
        table.notes.insert(0, args.note)
    if args.published:
        table.published = read_published(args.published, table.columns)
    return table


if __name__ == "__main__":
    main()
