"""Write a checkpoint for Hugging Face Transformers, timm or ONNX: weights, config, preprocessing and a model card.

    python tools/export.py work_dirs/mae/epoch_800.pth --to huggingface exported/mae --records work_dirs
"""
import argparse
import os
import sys

# Python puts this folder first on the path; the packages lie one above.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", help="checkpoint of tools/pretrain.py or tools/train.py, or any with --config or --arch")
    add("out", metavar="OUT_DIR", help="folder to write; it must not exist, or be empty")
    add("--to", required=True, choices=("huggingface", "timm", "onnx"))
    own = parser.add_mutually_exclusive_group()
    own.add_argument("--config", help="config to build the model from (default: the one in the checkpoint, for what is "
                                       "ours)")
    own.add_argument("--arch", help="build this timm ViT instead, e.g. vit_base_patch16_224")
    add("--img-size", nargs="+", type=int, metavar="SIDE", help="side, or height and width, of the images; positions "
                                                                 "are resampled for it (default: the config's)")
    add("--decoder", action="store_true", help="huggingface: the whole MAE, as ViTMAEForPreTraining")
    add("--records", nargs="+", default=[], metavar="DIR", help="records of transfers; the card lists the scores of "
                                                                "those that began with this pretraining")
    add("--opset", type=int, default=18, help="onnx: version of the operators (default: 18)")
    add("--output", choices=("maps", "tokens", "pooled", "predictions"), default="maps",
        help="onnx: the feature maps of the config's blocks, all tokens, the class token or mean, or what a whole "
             "classifier, segmentor or depth estimator predicts from pixels (default: maps)")
    add("--dynamic-size", action="store_true", help="onnx: images of any multiple of the patch")
    add("--push", metavar="REPO", help="upload the folder to this repository of the Hugging Face Hub")
    args = parser.parse_args()
    if args.img_size and (len(args.img_size) > 2 or min(args.img_size) < 1):
        parser.error("--img-size: expected one side, or height and width")
    if args.decoder and (args.to != "huggingface" or args.arch or args.img_size):
        parser.error("--decoder goes with --to huggingface and a checkpoint of tools/pretrain.py alone")
    if args.output == "predictions" and (args.to != "onnx" or args.arch):
        parser.error("--output predictions goes with --to onnx and a checkpoint of tools/train.py, without --arch")
    return args


def main() -> None:
    """Read, write, compare, describe, upload."""
    args = parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded: threads that wait sleep
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.cli.launch import checkpoint_at
        from mimtransfer.export.card import model_card
        from mimtransfer.export.folder import new_folder, push
        from mimtransfer.files import write_atomically

        args.checkpoint = checkpoint_at(args.checkpoint)
        size = args.img_size and (args.img_size[0] if len(args.img_size) == 1 else tuple(args.img_size))
        with new_folder(args.out) as folder:
            source, written, task = (export_whole if args.output == "predictions" else export_backbone)(
                args, size, folder)
            name = os.path.basename(os.path.abspath(args.out))
            write_atomically(folder / "README.md", model_card(source, args.to, written, name, args.records, task))
        print(f"{args.checkpoint} -> {args.out}: {written}")
        if not source.cfg:
            print(f"pixels are taken to be normalised by mean and std of ImageNet: {args.checkpoint} does not say")
        print(f"add a licence to {os.path.join(args.out, 'README.md')} before you publish it")
        if args.push:
            print(f"uploaded: {push(args.out, args.push)}")


def export_backbone(args: argparse.Namespace, size, folder) -> tuple:
    """Fill the folder with a backbone. Return its source, the line that says what was written, and None: no task."""
    from mimtransfer.export.folder import write_json
    from mimtransfer.export.preprocessing import preprocessor_config
    from mimtransfer.export.source import read_source

    source = read_source(args.checkpoint, args.config, args.arch, size)
    written = write(args, source, folder)
    preprocessing = preprocessor_config(source)
    if preprocessing and args.to != "timm":
        write_json(preprocessing, folder / "preprocessor_config.json")
    return source, written, None


def export_whole(args: argparse.Namespace, size, folder) -> tuple:
    """Fill the folder with a model from pixels to predictions. Return its source, the line, and its task."""
    from mimtransfer.export.onnx_predictions import write_predictions
    from mimtransfer.export.trained import read_trained

    trained = read_trained(args.checkpoint, args.config, size)
    return trained.source, write_predictions(trained, folder, args.opset, args.dynamic_size), trained.task


def write(args: argparse.Namespace, source, folder) -> str:
    """Write the model, and return the line that says what it is."""
    if args.to == "timm":
        from mimtransfer.export.timm_model import write_timm

        return write_timm(source, folder)
    if args.to == "onnx":
        from mimtransfer.export.onnx_model import write_onnx

        return write_onnx(source, folder, args.output, args.opset, args.dynamic_size)
    if args.decoder:
        from mimtransfer.export.mae import write_mae
        from pretrain.from_checkpoint import load_method

        return write_mae(source, load_method(source.cfg, args.checkpoint, own_config=bool(args.config)), folder)
    from mimtransfer.export.huggingface import write_huggingface

    return write_huggingface(source, folder)


if __name__ == "__main__":
    main()
