"""Draw what a trained detector or segmentor finds in images, and write it as JSON."""
import argparse
import os
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file that the checkpoint was trained with")
    add("checkpoint", help="checkpoint of tools/train.py")
    add("images", nargs="+", help="image files, folders of them, patterns (quoted: 'dir/**/*.jpg')")
    add("--out", default="predictions", metavar="DIR", help="for pictures, class maps, predictions.json")
    add("--score-thr", type=float, default=0.3, help="of boxes and masks drawn and in predictions.json")
    add("--ann-file", metavar="JSON", help="COCO json with the ids of these images (default: the config's)")
    add("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    return parser.parse_args()


def main() -> None:
    """Load the model, then predict image by image."""
    args = parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in tools/train.py
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.errors import check_checkpoint_path

        check_checkpoint_path(args.checkpoint)
        from mimtransfer.cli.prediction import check_device, find_images

        if args.device is not None:
            check_device(args.device)
        images = find_images(args.images)
        from mmengine.device import get_device
        from tqdm import tqdm

        from mimtransfer.checks.channels import check_channels
        from mimtransfer.cli import launch
        from mimtransfer.cli.kinds import check_kind
        from mimtransfer.cli.prediction import CocoResults, Predictor, names_for
        from mimtransfer.cli.trained import check_trained_with
        from mimtransfer.datasets.tree import printable, some
        from mimtransfer.datasets.unreadable import UnreadableImage
        from mimtransfer.errors import UserError
        from mimtransfer.training.precision import set_precision

        cfg = launch.load_config(args.config, args.cfg_options)
        check_kind(cfg, args.config, "training")
        launch.set_launcher(cfg, "none")
        set_precision(cfg)
        launch.enter_scope(cfg)
        check_channels(cfg)
        args.checkpoint = launch.checkpoint_at(args.checkpoint)
        check_trained_with(cfg, args.config, args.checkpoint)
        predictor = Predictor(cfg, args.checkpoint, args.out, args.score_thr, args.device or get_device(),
                              args.ann_file)
        with predictor.write_json() as out, CocoResults(args.out) as results:
            for path, name in zip(tqdm(images, unit="image"), names_for(images)):
                try:
                    prediction = predictor(path, name)
                    out.add(prediction.entry)
                    results.add(prediction)
                except UnreadableImage as error:
                    tqdm.write(f"{printable(path)} cannot be read ({error}), left out", file=sys.stderr)
                    out.leave_out(path, str(error))
        named = some(printable(each["image"]) for each in out.unreadable)
        left_out = f", {len(out.unreadable)} of {len(images)} images left out: {named}" if out.unreadable else ""
        if out.num_images == 0:
            raise UserError(f"none of {len(images)} images can be read, the first is {printable(images[0])!r} "
                            f"({out.unreadable[0]['reason']}); copy or download them again")
        print(f"{out.num_images} pictures and {out.path}{left_out}")
        if results.files:
            names = " and ".join(file.path for file in results.files.values())
            print(f"{names} for COCO, all scores, of {results.num_images} images that the annotation file lists")


if __name__ == "__main__":
    main()
