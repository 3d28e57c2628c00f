"""Write the encoder of any checkpoint that can be read as another codebase names it."""
import argparse
import os
import sys

# Python puts this folder first on the path; the packages lie one above.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="checkpoint file: .pth, .pt, .bin, .safetensors, .pkl (detectron2)")
    parser.add_argument("target", help="file to write: .safetensors or .pth")
    parser.add_argument("--to", required=True, choices=("mimtransfer", "timm", "detectron2", "huggingface"))
    return parser.parse_args()


def main() -> None:
    """Read, rename, write."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.checkpoints.convert import convert

        print(convert(args.source, args.target, args.to))


if __name__ == "__main__":
    main()
