"""Draw and score the attention of every block of an encoder on whole images, before and after fine-tuning.

    python tools/analyze_attention.py work_dirs/mae/epoch_800.pth data/val --compare work_dirs/upernet/iter_160000.pth

Scores, means over the images (mimtransfer/backbones/inspect.py): share of the received attention on the top 1 % of
the tokens, largest over mean received attention, entropy of the class token's attention (1 = even).
"""
import argparse
import json
import os
import sys
from typing import Any

# Python puts this folder first on the path; the packages lie one above.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_DRAWN = 4  # images in the figure; the scores are of all


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", help="checkpoint of tools/pretrain.py or tools/train.py, or any with --config or --arch")
    add("images", nargs="+", help="image files, or folders of them; each image is shown whole")
    add("--compare", metavar="CKPT", help="checkpoint to set beside the first, e.g. after fine-tuning")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", help="config to build the encoder from (default: the one in each checkpoint)")
    source.add_argument("--arch", help="build this timm ViT instead, e.g. vit_base_patch16_224")
    add("--size", type=int, help="side of the images in pixels (default: the first encoder's img_size)")
    add("--num-images", type=int, default=64, help="use at most so many, evenly spaced (default: 64)")
    add("--batch-size", type=int, default=16)
    add("--out", metavar="DIR", help="folder for attention.png and attention.json (default: attention/ beside the "
                                     "checkpoint)")
    args = parser.parse_args()
    if args.num_images < 1 or args.batch_size < 1:
        parser.error(f"--num-images {args.num_images} --batch-size {args.batch_size}: expected 1 or more of both")
    return args


def load_encoder(path: str, args: argparse.Namespace):
    """Return the encoder of a checkpoint, in evaluation mode, its LoadReport, and mean and std of its pixels."""
    from mimtransfer.checkpoints.load import load_backbone
    from mimtransfer.checkpoints.recorded_config import (
        build_recorded,
        config_in_checkpoint,
        encoder_config,
        pixel_statistics,
    )
    from mimtransfer.cli import launch
    from mimtransfer.errors import UserError
    from mimtransfer.registry import MODELS

    where = args.config or f"checkpoint {path!r}"
    cfg = {} if args.arch else launch.load_config(args.config, []) if args.config else config_in_checkpoint(path)
    own = dict(type="TimmViT", arch=args.arch, img_size=args.size or 224)
    config = own if args.arch else encoder_config(cfg, where)
    if config.get("type") not in ("TimmViT", "mimtransfer.TimmViT"):
        raise UserError(f"{where}: got the encoder {str(config.get('type'))[:80]!r}, expected a TimmViT; attention "
                        "maps of whole images exist in plain ViTs only")
    pixels = pixel_statistics(cfg, where)
    recorded = not (args.arch or args.config)
    encoder = build_recorded(MODELS, config, where, os.path.getsize(path)) if recorded else MODELS.build(config)
    report = load_backbone(encoder, path)
    return encoder.eval(), report, pixels


def analyze_checkpoint(path: str, args: argparse.Namespace) -> dict:
    """Return name, scores and drawn maps of a checkpoint; sets `args.size` where it is not given."""
    import torch
    from mmengine.device import get_device
    from torch.utils.data import DataLoader

    from mimtransfer.backbones.inspect import analyze
    from pretrain.data.whole import WholeImages

    encoder, report, (mean, std) = load_encoder(path, args)
    args.size = args.size or encoder.img_size
    device = get_device()
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))
    images = WholeImages(args.images, args.size, args.num_images)
    loader = DataLoader(images, batch_size=args.batch_size)
    blocks, maps = analyze(encoder.to(device), ((batch["inputs"].to(device) - mean) / std for batch in loader))
    shown = range(min(_DRAWN, len(maps[0])))
    return dict(
        name=os.path.join(*os.path.abspath(path).split(os.sep)[-2:]),
        record=dict(path=path, sha256=report.sha256, pretraining=report.pretraining, num_images=len(images),
                    image_size=list(images[0]["inputs"].shape[1:]), blocks=blocks),
        maps=[block[: len(shown)] for block in maps],
        pictures=[images[i]["inputs"].permute(1, 2, 0).numpy() for i in shown],
    )


def draw(results: list[dict], path: str) -> None:
    """Write a figure: a row for each image and checkpoint with the maps of all blocks, below the scores by block."""
    import torch
    from matplotlib.figure import Figure

    from mimtransfer.backbones.inspect import SCORES

    pictures = results[0]["pictures"]
    num_rows, num_columns = len(pictures) * len(results), 1 + max(len(result["maps"]) for result in results)
    width = max(9.0, 1.1 * num_columns)
    figure = Figure(figsize=(width, 1.2 * num_rows + 3.6), dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.2 * num_rows + 0.6, 3.0])
    upper, lower = parts
    # In multiples of an even share, on one scale: what all maps but one in 200 values reach.
    heat = [[block * block[0].numel() for block in result["maps"]] for result in results]
    highest = torch.cat([block.flatten() for blocks in heat for block in blocks]).quantile(0.995).item()
    axes = upper.subplots(num_rows, num_columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for image, picture in enumerate(pictures):
        for turn, result in enumerate(results):
            row = axes[image * len(results) + turn]
            row[0].imshow(picture)
            row[0].set_title(result["name"] if image == 0 else "", fontsize="xx-small", loc="left")
            for number, (axis, block) in enumerate(zip(row[1:], heat[turn])):
                mesh = axis.imshow(block[image], vmin=0, vmax=highest, cmap="magma")
                if image == turn == 0:
                    axis.set_title(f"block {number + 1}", fontsize="x-small")
    upper.colorbar(mesh, ax=axes, shrink=0.6, label="received attention / even share")
    for axis, (score, title) in zip(lower.subplots(1, len(SCORES)), SCORES.items()):
        for result in results:
            values = [block[score] for block in result["record"]["blocks"]]
            axis.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=result["name"])
        axis.set_title(title, fontsize="x-small", wrap=True)
        axis.set_xlabel("block")
    axis.legend(fontsize="xx-small")
    figure.savefig(path)


def main() -> None:
    """Load, measure, print, write."""
    args = parse_args()
    # Read when torch is loaded: threads that wait sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.backbones.inspect import SCORES
        from mimtransfer.cli.launch import checkpoint_at

        args.checkpoint, args.compare = checkpoint_at(args.checkpoint), checkpoint_at(args.compare)
        results = [analyze_checkpoint(path, args) for path in (args.checkpoint, args.compare) if path]
        for result in results:
            print(result["name"])
            print("  block " + "".join(f"{score:>15}" for score in SCORES))
            for number, block in enumerate(result["record"]["blocks"], start=1):
                print(f"  {number:5} " + "".join(f"{block[score]:15.4f}" for score in SCORES))
        out = args.out or os.path.join(os.path.dirname(args.checkpoint), "attention")
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "attention.json"), "w") as file:
            json.dump(dict(scores=SCORES, checkpoints=[result["record"] for result in results]), file, indent=1)
        draw(results, os.path.join(out, "attention.png"))
        print(f"written: {os.path.join(out, 'attention.png')} and attention.json")


if __name__ == "__main__":
    main()
