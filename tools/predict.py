"""Draw what a trained detector or segmentor finds in images, and write it as JSON."""
import argparse
import os


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file that the checkpoint was trained with")
    add("checkpoint", help="checkpoint of tools/train.py")
    add("images", nargs="+", help="image files, or folders of them")
    add("--out", default="predictions", metavar="DIR", help="for pictures, class maps, predictions.json")
    add("--score-thr", type=float, default=0.3, help="leave out boxes and masks with lower scores")
    add("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    return parser.parse_args()


def main() -> None:
    """Load the model, then predict image by image."""
    args = parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in tools/train.py
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.explain import clean_exit

    with clean_exit():
        from mimtransfer.cli.prediction import check_device, find_images

        if args.device is not None:
            check_device(args.device)
        images = find_images(args.images)
        from mmengine.device import get_device
        from tqdm import tqdm

        from mimtransfer.cli import launch
        from mimtransfer.cli.prediction import Predictor, names_for

        cfg = launch.load_config(args.config, args.cfg_options)
        launch.set_launcher(cfg, "none")
        launch.enter_scope(cfg)
        predictor = Predictor(cfg, args.checkpoint, args.out, args.score_thr, args.device or get_device())
        entries = [predictor(path, name) for path, name in zip(tqdm(images, unit="image"), names_for(images))]
        print(f"{len(images)} pictures and {predictor.write_json(entries)}")


if __name__ == "__main__":
    main()
