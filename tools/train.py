"""Train a detector, segmentor or classifier on a pretrained backbone, and evaluate it at the end."""
import argparse
import os


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file, e.g. configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py")
    add("--pretrained", metavar="CKPT", help="checkpoint of a pretraining (default: random weights)")
    add("--data", metavar="DIR_OR_JSON", help="your data: COCO, Pascal VOC, YOLO, images and masks, class folders; "
        "classes, heads, evaluators and splits follow (docs/own-data.md)")
    add("--quick", action="store_true", help="a look-see of minutes on a CPU: ViT-Ti, small images, few iterations")
    add("--image-size", type=int, metavar="N", help="longer side of what the network is trained on; all follows")
    add("--num-classes", type=int, metavar="N", help="of every head (default: those of --data, or the config's)")
    add("--batch", type=int, metavar="N", help="images of a process in an iteration; lr and schedule follow")
    add("--epochs", type=int, metavar="N", help="length; warm-up, milestones and evaluations follow")
    add("--work-dir", help="for checkpoints, logs, result.json (default: work_dirs/CONFIG_NAME)")
    add("--resume", nargs="?", const="auto", metavar="CKPT", help="go on from CKPT, or from the newest in the work dir")
    add("--save-on-sigterm", action="store_true", help="on SIGTERM or SIGHUP save first, then stop (preemption)")
    add("--save-every-iters", type=int, metavar="N", help="save every N iterations, too; exact to resume from")
    add("--async-save", action="store_true", help="write checkpoints while training goes on")
    add("--amp", action="store_true", help="bf16 autocast (fp16 on GPUs without bf16)")
    add("--compile", action="store_true", help="compile backbone and neck in training; heads stay eager (docs/gpu.md)")
    add("--fsdp", action="store_true", help="shard model and optimizer over the processes (ViT-H; with a launcher)")
    add("--log", action="append", default=[], choices=["wandb", "mlflow", "tensorboard"],
        help="send curves, pictures and scores there, too; may be repeated (docs/logging.md)")
    add("--seed", type=int, help="seed of the run (default: the config's)")
    add("--max-corrupt", type=int, metavar="N", help="go on from up to N unreadable training images (default: 0)")
    add("--overfit", type=int, metavar="N", help="sanity check: learn N images by heart; status 1 if it cannot")
    add("--overfit-iters", type=int, metavar="N", help="iterations of --overfit at most (default: 600)")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    add("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Check the data, build the Runner and train."""
    args = parse_args()
    # Read when torch is loaded: waiting threads sleep. Spinning made training 4 times slower on two shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # mimtransfer/training/host_memory.py
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.errors import UserError, check_checkpoint_path

        check_checkpoint_path(args.pretrained)
        if args.overfit_iters is not None and args.overfit is None:
            raise UserError("--overfit-iters without --overfit N: give both, or train_cfg.max_iters of the run itself")
        # What a name can tell first, then what takes seconds to import.
        from mimtransfer.cli import launch
        from mimtransfer.cli.kinds import check_kind

        shipped = launch.load_config(args.config, [], as_shipped=True)
        check_kind(shipped, args.config, "training")

        from mimtransfer.checks.data import SPLITS, check_data
        from mimtransfer.checks.recipe import TransferCheckHook, recipe_of
        from mimtransfer.checks.settings import check_settings
        from mimtransfer.datasets.configured import set_max_corrupt
        from mimtransfer.own_data.options import OwnOptions
        from mimtransfer.results.progress import ProgressHook
        from mimtransfer.results.trackers import set_log
        from mimtransfer.training.batch import count_processes
        from mimtransfer.training.compilation import check_compiler, compile_features
        from mimtransfer.training.fsdp import set_fsdp
        from mimtransfer.training.precision import set_amp, set_precision
        from mimtransfer.training.rescale import rescale_schedule
        from mimtransfer.training.safeguards import set_safeguards
        from mimtransfer.training.schedule_hook import ScheduleHook

        processes = count_processes(args.launcher)
        own = OwnOptions.of(args, shipped, processes)
        cfg = launch.load_config(args.config, args.cfg_options, prepare=own.apply)
        launch.set_work_dir(cfg, own.work_dir, args.config)
        own.report(cfg)
        sync_bn = cfg.get("sync_bn")
        launch.set_launcher(cfg, args.launcher)
        launch.enter_scope(cfg)
        set_log(cfg, args.log)
        check_settings(cfg)
        launch.set_resume(cfg, args.resume)
        launch.set_seed(cfg, args.seed)
        set_amp(cfg, args.amp)
        set_precision(cfg)
        set_fsdp(cfg, args.fsdp, sync_bn)
        if args.compile:
            check_compiler(cfg)
        followed, notes = own.recipe(shipped), []
        recipe = None if followed is None else recipe_of(followed)
        if args.overfit is None:  # which has a schedule of its own
            notes = rescale_schedule(cfg, shipped, processes, args.cfg_options)
        launch.count_accumulation(cfg)
        launch.set_pretrained(cfg, args.pretrained)
        set_max_corrupt(cfg.train_dataloader, args.max_corrupt)
        check_data(cfg, ("train",) if args.overfit is not None else SPLITS)
        own.check()
        if args.overfit is not None:
            from mimtransfer.checks.overfit import set_overfit
            from mimtransfer.checks.overfit_verdict import verdict

            note = set_overfit(cfg, args.overfit, args.overfit_iters)
        set_safeguards(cfg, args.save_on_sigterm, args.save_every_iters, args.async_save)

        from mmengine.runner import FlexibleRunner, Runner

        runner = (FlexibleRunner if args.fsdp else Runner).from_cfg(cfg)
        if cfg.get("task") == "classification":
            launch.check_epoch(runner)
        runner.logger.info(launch.initialisation(cfg))
        if args.compile:
            compile_features(runner.model)
        runner.register_hook(ScheduleHook(notes))
        runner.register_hook(ProgressHook())
        if args.overfit is None:
            runner.register_hook(TransferCheckHook(recipe))
        own.write()
        runner.train()
        if args.overfit is not None:
            passed, line = verdict(runner, note)
            runner.logger.info(line)
            raise SystemExit(0 if passed else 1)
        launch.evaluate_if_never(runner)


if __name__ == "__main__":
    main()
