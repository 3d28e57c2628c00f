"""Check versions, operators, GPUs and, of a config, its data and checkpoint; say how to fix what is wrong."""
import argparse
import os
import sys

# As in tools/pretrain.py: this folder holds a file of the package's name.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", nargs="?", help="config whose settings and data are checked")
    add("--pretrained", metavar="CKPT", help="checkpoint that the config's backbone is to start from")
    add("--maps", type=int, default=100, metavar="N", help="images and index maps decoded in each data set")
    add("--all", action="store_true", help="decode all of them")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    return parser.parse_args()


def main() -> None:
    """Print all findings; exit with status 1 when something must be fixed."""
    args = parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in tools/train.py
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.checks import FAIL, WARN, Finding
        from mimtransfer.checks import environment as doctor

        found: list[Finding] = []

        def show(title: str, findings) -> None:
            print(title)
            for finding in findings:
                print(finding, flush=True)
                found.append(finding)

        show("versions", doctor.check_versions())
        if not any(finding.level == FAIL for finding in found):
            import torch

            show("devices", doctor.check_devices())
            show("operators", doctor.check_operators(["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]))
            if args.config:
                from mimtransfer.checks.config import check_config
                from pretrain.data.check import image_findings
                from pretrain.runner import register_all

                register_all()

                num_files = None if args.all else args.maps
                show(args.config, check_config(
                    args.config, args.cfg_options, args.pretrained, num_files, image_findings))
        counts = {level: sum(finding.level == level for finding in found) for level in (FAIL, WARN)}
        print(f"{counts[FAIL]} to fix, {counts[WARN]} to look at")
        sys.exit(1 if counts[FAIL] else 0)


if __name__ == "__main__":
    main()
