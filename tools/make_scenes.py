"""Make the embedded data set on this machine: scenes with COCO json and ADE20K-style index maps, and unlabelled scenes.

Nothing is downloaded. The same parameters give the same files; what is already there is not drawn again.
"""
import argparse
import ast
import time


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", default="data/scenes", help="folder of the data set (default: %(default)s)")
    add("--size", type=int, nargs="+", default=[64], metavar="PIXELS", help="side, or height and width (default: 64)")
    add("--train", type=int, default=400, metavar="N", help="labelled scenes for training (default: %(default)s)")
    add("--val", type=int, default=200, metavar="N", help="labelled scenes of other handwriting (default: %(default)s)")
    add("--unlabelled", type=int, default=4000, metavar="N", help="scenes for pretraining (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="another seed, other scenes (default: %(default)s)")
    add("--classes", nargs="+", default=["default"], metavar="NAME", help="default, digits, shapes, all, or names")
    add("--stuff", nargs="+", default=[], metavar="NAME", help="textured surfaces (default: all five)")
    add("--style", nargs="+", default=[], metavar="NAME=VALUE", help="fields of SceneStyle, e.g. noise=0,0.02 shear=0")
    add("--workers", type=int, metavar="N", help="processes (default: one per core); the files do not depend on it")
    add("--bands", type=int, metavar="C", help="also write each scene with C channels, as bands/SPLIT/NAME.npy")
    add("--dtype", default="uint8", help="of these: uint8, uint16 or float32 (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace scenes of other parameters in the same folder")
    return parser.parse_args()


def style_fields(args: argparse.Namespace) -> dict:
    """Collect the arguments of SceneStyle from the command line."""
    import dataclasses

    from mimtransfer.datasets.scenes.style import THING_SETS, SceneStyle
    from mimtransfer.errors import UserError, near_matches

    chosen = THING_SETS[args.classes[0]] if len(args.classes) == 1 and args.classes[0] in THING_SETS else args.classes
    fields = {"things": tuple(chosen)} | ({"stuff": tuple(args.stuff)} if args.stuff else {})
    known = {field.name for field in dataclasses.fields(SceneStyle)} - {"things", "stuff"}
    for option in args.style:
        name, _, text = option.partition("=")
        if name not in known:
            hint = near_matches(name, known) or f"known: {', '.join(sorted(known))}"
            raise UserError(f"--style {option}: unknown field {name!r}; {hint}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise UserError(f"--style {option}: expected NAME=NUMBER or NAME=LOW,HIGH") from None
        fields[name] = value
    return fields


def main() -> None:
    """Make the data set and say what is there."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit
    from mimtransfer.errors import UserError

    with clean_exit():
        from mimtransfer.datasets.scenes.style import SPLITS, SceneStyle
        from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

        if args.workers is not None and args.workers < 1:
            raise UserError(f"--workers: got {args.workers}, expected at least 1")
        size = tuple(args.size * 2 if len(args.size) == 1 else args.size)
        counts = {split: getattr(args, split) for split in SPLITS}
        scenes = SceneSet(size, counts, args.seed, SceneStyle(**style_fields(args)))
        start = time.perf_counter()
        meta = make_scenes(args.out, scenes, args.workers, args.overwrite)
        if args.bands is not None:
            from mimtransfer.datasets.scenes.bands import write_bands

            count = write_bands(args.out, args.bands, args.dtype)
            print(f"{args.out}/bands: {count} images of {args.bands} channels, {args.dtype}")
        objects = sum(meta["num_instances"].values())
        print(
            f"{args.out}: {', '.join(f'{count} {split}' for split, count in meta['counts'].items())} scenes of "
            f"{size[0]}x{size[1]} pixels, {objects} annotated objects of {len(meta['things'])} classes, "
            f"{len(meta['classes'])} classes in the index maps; {time.perf_counter() - start:.1f} s"
        )


if __name__ == "__main__":
    main()
