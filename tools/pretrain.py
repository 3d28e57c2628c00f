"""Pretrain an encoder by masked image modelling."""
import argparse
import os
import sys

# Python puts this folder first on the path, where `import pretrain` would find this very file instead of the package.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__)
    parser.add_argument("config", help="config file, e.g. configs/pretrain/mae_vit-base_800e_in1k.py")
    parser.add_argument("--data", metavar="DIR", help="your images: a folder, at any depth (docs/own-data.md)")
    parser.add_argument(
        "--quick", action="store_true", help="a look-see of minutes on a CPU: ViT-Ti, small images, few of them"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="side of the crops; encoder and phases follow")
    parser.add_argument("--batch", type=int, metavar="N", help="images of a process in an iteration; the lr follows")
    parser.add_argument("--epochs", type=int, metavar="N", help="length; warm-up, milestones and maps follow")
    parser.add_argument(
        "--work-dir", help="folder for checkpoints, logs and result.json (default: work_dirs/<config name>)"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="go on from CKPT, or from the newest one in the work dir",
    )
    parser.add_argument(
        "--save-on-sigterm", action="store_true", help="on SIGTERM or SIGHUP save first, then stop (preemption)"
    )
    parser.add_argument(
        "--save-every-iters", type=int, metavar="N", help="save every N iterations, too; exact to resume from"
    )
    parser.add_argument("--async-save", action="store_true", help="write checkpoints while training goes on")
    parser.add_argument(
        "--online",
        metavar="CONFIG",
        help="score the encoder while it trains, by the data of this config of k-NN or linear probes, e.g. "
        "configs/classification/knn_vit-tiny-p4_cifar10.py (docs/online-evaluation.md)",
    )
    parser.add_argument("--amp", action="store_true", help="bf16 autocast")
    parser.add_argument("--compile", action="store_true", help="compile training steps by torch.compile (docs/gpu.md)")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=["wandb", "mlflow", "tensorboard"],
        help="send curves, pictures and scores there, too; may be repeated (docs/logging.md)",
    )
    parser.add_argument("--seed", type=int, help="seed of the run (default: the config's)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override any config key, e.g. train_cfg.max_epochs=10",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    # Read when torch is loaded. On a busy machine, threads that spin while they wait cost a factor of four.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # mimtransfer/training/host_memory.py
    return args


def main() -> None:
    """Build the Runner and train."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        # What a name can tell first, then what takes seconds to import.
        from mimtransfer.cli import launch
        from mimtransfer.cli.kinds import check_kind

        shipped = launch.load_config(args.config, [], as_shipped=True)
        check_kind(shipped, args.config, "pretraining")

        from mimtransfer.checks.settings import check_settings
        from mimtransfer.own_data.options import OwnOptions
        from mimtransfer.results.trackers import set_log
        from mimtransfer.training.batch import count_processes
        from mimtransfer.training.compilation import check_compiler
        from mimtransfer.training.precision import set_amp, set_precision
        from mimtransfer.training.rescale import rescale_schedule
        from mimtransfer.training.safeguards import set_safeguards
        from pretrain.hooks.online_config import set_online
        from pretrain.runner import build_runner, register_all

        processes = count_processes(args.launcher)
        register_all()
        own = OwnOptions.of(args, shipped, processes)
        cfg = launch.load_config(args.config, args.cfg_options, prepare=own.apply)
        launch.set_work_dir(cfg, own.work_dir, args.config)
        own.report(cfg)
        launch.set_launcher(cfg, args.launcher)
        launch.enter_scope(cfg)
        set_log(cfg, args.log)
        set_online(cfg, args.online)
        check_settings(cfg)
        launch.set_resume(cfg, args.resume)
        launch.set_seed(cfg, args.seed)
        set_amp(cfg, args.amp)
        set_precision(cfg)
        notes = rescale_schedule(cfg, shipped, processes, args.cfg_options)
        launch.count_accumulation(cfg)
        if args.compile:
            check_compiler(cfg)
            cfg.model.compile_loss = True

        set_safeguards(cfg, args.save_on_sigterm, args.save_every_iters, args.async_save)
        own.check()
        runner = build_runner(cfg, notes)
        own.write()
        runner.train()


if __name__ == "__main__":
    main()
