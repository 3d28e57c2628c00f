"""Draw what a pretrained method does with images: map and roles of the patches, or the corrupted
image and its spectrum; reconstruction.
"""
import argparse
import os
import sys

# Python puts this folder first on the path; the packages lie one above.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_FORMATS = (".png", ".pdf", ".svg", ".jpg")


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="checkpoint of tools/pretrain.py, e.g. work_dirs/mae/epoch_800.pth")
    parser.add_argument("images", nargs="+", help="image files, or folders of them; each image is shown whole")
    parser.add_argument("--config", help="config of the pretraining (default: the one in the checkpoint)")
    parser.add_argument("--out", default="visualize.png", help=f"file to write: {', '.join(_FORMATS)}")
    parser.add_argument("--num-images", type=int, default=8, help="draw at most so many, evenly spaced (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the masks (default: 0)")
    parser.add_argument("--strategy", metavar="TYPE", help="see another strategy at work, e.g. AMTMasking; same ratios")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="override any config key, e.g. model.strategy.mask_ratio=0.5",
    )
    args = parser.parse_args()
    if args.num_images < 1:
        parser.error(f"--num-images {args.num_images}: expected 1 or more")
    if not args.out.lower().endswith(_FORMATS):
        parser.error(f"--out {args.out}: expected a name that ends in {', '.join(_FORMATS)}")
    return args


def main() -> None:
    """Load, measure, draw, write."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mmengine.device import get_device

        from mimtransfer.checkpoints.recorded_config import config_in_checkpoint
        from mimtransfer.cli import launch
        from pretrain.data.whole import WholeImages
        from pretrain.from_checkpoint import decoding_of, image_size, load_method, other_strategy
        from pretrain.pictures import draw_whole_images

        args.checkpoint = launch.checkpoint_at(args.checkpoint)
        if args.config:
            cfg = launch.load_config(args.config, args.cfg_options)
        else:
            cfg = config_in_checkpoint(args.checkpoint)
            launch.apply_options(cfg, args.cfg_options, args.checkpoint)
        method = load_method(cfg, args.checkpoint, own_config=bool(args.config)).to(get_device())
        if args.strategy:
            method.strategy = other_strategy(method, args.strategy)
        size = image_size(cfg, args.checkpoint)
        os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
        images = WholeImages(args.images, size, args.num_images, args.seed, *decoding_of(cfg, args.checkpoint))
        draw_whole_images(method, images, args.out)
        print(f"written: {args.out}")


if __name__ == "__main__":
    main()
