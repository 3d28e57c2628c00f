"""Say before a run what it will take: memory of a GPU, largest batch, images/s, hours, how fast data must come.

    python tools/plan.py configs/pretrain/mae_vit-base_800e_in1k.py --gpus 8 --gpu h100
    python tools/plan.py CONFIG --gpus 4 --gpu a100-40 --global-batch 4096
    python tools/plan.py CONFIG --memory 32 --tflops 125 --mfu 0.3

Nothing is computed: a training step runs on tensors without values, at two batches and at the largest. Neither GPU nor
data are needed. Memory is counted; images/s and hours rest on a share of the GPU's peak that is assumed (docs/plan.md).
"""
import argparse
import os
import sys
import warnings

# Python puts this folder first on the path, where `import pretrain` would find tools/pretrain.py, not the package.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", help="config of tools/pretrain.py or tools/train.py")
    add("--gpus", type=_count, default=8, metavar="N", help="number of GPUs (default: 8)")
    add("--gpu", metavar="NAME", help="h100, h200, a100-40, a100-80, l40s or rtx4090 (default: h100)")
    add("--memory", type=_positive, metavar="GB", help="memory of a GPU in GiB, for others")
    add("--tflops", type=_positive, metavar="T", help="bf16 peak of a GPU, dense, for others")
    add("--global-batch", type=_count, metavar="N", help="images of a step, on all GPUs (default: the recipe's)")
    add("--mfu", type=_positive, metavar="X",
        help="share of the peak that is reached (default, assumed: 0.3 for pretraining and classification, 0.2 for "
             "segmentation, 0.1 for detection)")
    add("--images", type=_count, metavar="N", help="images of an epoch, where neither data nor name say it")
    add("--cores", type=_count, metavar="N", help="cores that load data for all GPUs (default: the config's processes)")
    add("--no-amp", dest="amp", action="store_false", help="a run without --amp: float32")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    return parser.parse_args()


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected a number above 0")
    return value


def main() -> None:
    """Plan, print."""
    args = parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # of mmdet and mmseg, about their own code
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.errors import UserError
        from mimtransfer.planning.gpus import find_gpu

        gpu = find_gpu(args.gpu, args.memory, args.tflops)  # first: what is wrong is said at once
        if args.mfu is not None and args.mfu > 1:
            raise UserError(f"--mfu {args.mfu:g}: expected a share of the peak, 0 to 1")
        import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
        from mimtransfer.planning.text import describe
        from pretrain.planning.configs import plan_config

        print(describe(plan_config(
            args.config, args.cfg_options, gpu=gpu, gpus=args.gpus, amp=args.amp, mfu=args.mfu,
            global_batch=args.global_batch, images=args.images, cores=args.cores)))


if __name__ == "__main__":
    main()
