"""Convert your data for training: Pascal VOC and YOLO to COCO jsons, masks to index maps, single sets to splits.

    python tools/convert_data.py data/my_yolo data/my_yolo_converted
    python tools/train.py configs/detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py --data data/my_yolo_converted

Nothing is written into SOURCE. A single set is split into train and val by a seed. `tools/train.py CONFIG --data
SOURCE` converts by itself; this command is for its options, and to look at what comes out (docs/own-data.md).
"""
import argparse
import os
import sys

# As in tools/pretrain.py: this folder holds a file of the package's name.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("source", help="folder, COCO json, or data.yaml of YOLO")
    add("out", help="folder that is written; new, or of the same command")
    add("--task", choices=["detection", "segmentation", "classification"], help="default: what SOURCE fits best")
    add("--val-share", type=float, default=0.2, metavar="X", help="of a single set, for validation (default: 0.2)")
    add("--seed", type=int, default=0, help="of this split (default: 0)")
    add("--images", metavar="DIR", help="folder of the images of a COCO json, where it is not found")
    add("--table", metavar="FILE", help="of masks: a line 'name: 3' or 'name: 128,64,0' for each class")
    return parser.parse_args()


def main() -> None:
    """Convert, and print what there is."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.cli.command import as_typed
        from mimtransfer.errors import UserError
        from mimtransfer.own_data.convert import convert
        from mimtransfer.own_data.converted import MANIFEST

        if os.path.isfile(os.path.join(args.source, MANIFEST)):
            raise UserError(f"{args.source!r} was written by this command; train on it by --data {args.source}, or "
                            "convert the data that it names as its source")
        data = convert(args.source, args.out, args.task, args.val_share, args.seed, args.images, args.table)
        written = as_typed(f"Written to {args.out}: python tools/train.py CONFIG --data {args.out}")
        print("\n".join([*data.summary(), written]))


if __name__ == "__main__":
    main()
