"""Evaluate a trained detector, segmentor or classifier on its test data, or a pretraining by its frozen features."""
import argparse
import os


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    from mimtransfer.cli.parser import Parser

    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("config", help="config file that the checkpoint was trained with, or one that trains nothing (k-NN)")
    add("checkpoint", nargs="?", help="checkpoint of tools/train.py, or its work dir: the newest one")
    add("--pretrained", metavar="CKPT", help="for k-NN: checkpoint of a pretraining (default: random weights)")
    add("--data", metavar="DIR_OR_JSON", help="test on these data, of the forms of tools/train.py --data, in place of "
        "the config's; the classes are the model's (docs/own-data.md)")
    add("--work-dir", help="for logs, result.json (default: folder of the checkpoint; k-NN: work_dirs/CONFIG_NAME; "
        "with --data tested_on_NAME in there)")
    add("--out", metavar="FILE.pkl", help="also write all predictions to this file")
    add("--save-predictions", action="store_true", help="write predictions.*.json for tools/compare_scores.py")
    add("--tta", action="store_true", help="test-time augmentation: the config's tta_pipeline and tta_model")
    add("--amp", action="store_true", help="trained with --amp: the record keeps its protocol; k-NN: bf16 autocast")
    add("--log", action="append", default=[], choices=["wandb", "mlflow", "tensorboard"],
        help="send curves, pictures and scores there, too; may be repeated (docs/logging.md)")
    add("--seed", type=int, help="for k-NN: seed of random weights (default: the config's)")
    add("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="pytorch: torchrun")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override config keys")
    add("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Check data and checkpoint, build the Runner and evaluate."""
    args = parse_args()
    # Read when torch is loaded: waiting threads sleep. Spinning made training 4 times slower on two shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.errors import check_checkpoint_path

        for path in (args.checkpoint, args.pretrained):
            check_checkpoint_path(path)
        # What a name can tell first, then what takes seconds to import.
        from mimtransfer.cli import launch
        from mimtransfer.cli.kinds import check_kind

        cfg = launch.load_config(args.config, args.cfg_options)
        check_kind(cfg, args.config, "training", "evaluation")

        from mimtransfer.checks.data import check_data
        from mimtransfer.checks.settings import check_settings
        from mimtransfer.cli import outputs_of_test
        from mimtransfer.cli.trained import check_trained_with
        from mimtransfer.evaluation.tta import merge_views, set_tta
        from mimtransfer.own_data import tested
        from mimtransfer.results.progress import ProgressHook
        from mimtransfer.results.trackers import set_log
        from mimtransfer.training.batch import count_processes
        from mimtransfer.training.precision import set_amp, set_precision
        from mimtransfer.training.rescale import rescale_schedule

        args.checkpoint = launch.checkpoint_at(args.checkpoint)
        trained_on = launch.check_what_is_tested(cfg, args.checkpoint, args.pretrained)
        launch.enter_scope(cfg)
        check_trained_with(cfg, args.config, args.checkpoint)
        processes = trained_on or count_processes(args.launcher)
        folder = None if args.checkpoint is None else os.path.dirname(args.checkpoint) or "."
        launch.set_work_dir(cfg, args.work_dir or folder, args.config)
        if args.data is not None:
            inside = args.work_dir is None
            cfg = tested.with_data(cfg, args.config, args.cfg_options, args.data, args.checkpoint, inside)
        launch.set_launcher(cfg, args.launcher)
        set_log(cfg, args.log)
        check_settings(cfg)
        launch.set_resume(cfg, None)
        launch.set_seed(cfg, args.seed)
        set_amp(cfg, args.amp)
        set_precision(cfg)
        shipped = launch.load_config(args.config, [], as_shipped=True)
        rescale_schedule(cfg, shipped, processes, args.cfg_options)  # as in the training
        launch.count_accumulation(cfg)
        launch.set_pretrained(cfg, args.pretrained)
        outputs_of_test.check_out(args.out)
        if args.tta:
            set_tta(cfg)
        check_data(cfg, splits=("test",))
        cfg.load_from = args.checkpoint

        from mimtransfer.cli.runner_of_test import TestRunner

        runner = TestRunner.from_cfg(cfg)
        runner.register_hook(ProgressHook())
        if args.checkpoint is None:
            runner.logger.info(launch.initialisation(cfg))
            runner._init_model_weights()  # mmengine does it for trainings only
        else:
            launch.check_checkpoint(runner.model, args.checkpoint)
        outputs_of_test.write_predictions(runner, args.out)
        if args.save_predictions:
            outputs_of_test.save_predictions(runner)
        if args.tta:
            merge_views(runner)
        runner.test()


if __name__ == "__main__":
    main()
