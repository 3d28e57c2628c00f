"""Fit a k-means codebook on patches of images, or store the ids that a tokenizer gives to the images of a training set.

    python tools/fit_tokenizer.py configs/tokenizer/kmeans-pixels_scenes.py          # codebook.pth, .json, codes.png
    python tools/fit_tokenizer.py configs/tokenizer/kmeans-pixels_scenes.py --ids    # then: ids/

The second is for pretraining without random crops: `tokenizer=dict(type="StoredTokens", path=".../ids")`.
"""
import argparse
import json
import os
import sys
import time

# Python puts this folder first on the path; the packages lie one above.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_args() -> argparse.Namespace:
    """Read the command line. Only the standard library so far: `--help` answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("config", help="config file, e.g. configs/tokenizer/kmeans-pixels_scenes.py")
    add("--work-dir", help="folder of the results (default: work_dirs/<config name>)")
    add("--ids", action="store_true", help="store the ids of all images, shown by the config's `view`, from its "
                                           "`tokenizer` or the codebook in the work dir")
    add("--seed", type=int, help="of the draws and of k-means (default: the config's)")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE",
        help="override any config key, e.g. train_dataloader.dataset.root=FOLDER")
    return parser.parse_args()


def build_dataset(cfg, transform: dict | None = None):
    """Return the training set of the config, with another transform if one is given."""
    import pretrain.data  # noqa: F401  registers it
    from mimtransfer.registry import DATASETS

    config = dict(cfg.train_dataloader.dataset)
    config.pop("augment", None)  # no model is there whose preprocessor would resize
    dataset = DATASETS.build({**config, "transform": transform} if transform else config)
    dataset.set_seed(cfg.seed)
    return dataset


def fit(cfg) -> str:
    """Fit and write a codebook; return what to say about it."""
    import torch
    from mmengine.device import get_device
    from PIL import Image

    from mimtransfer.files import sha256_file, write_atomically
    from mimtransfer.registry import PATCH_FEATURES
    from mimtransfer.training.whole_files import published
    from pretrain.tokenizers.codebook import code_statistics, draw_codes, fit_centroids, perplexity, sample_patches

    features, device = PATCH_FEATURES.build(cfg.features).eval().to(get_device()), get_device()
    num_codes = cfg.kmeans.num_codes
    sample = sample_patches(
        build_dataset(cfg), features, num_codes * cfg.kmeans.patches_per_code, cfg.kmeans.patches_per_image,
        cfg.train_dataloader.batch_size, cfg.train_dataloader.num_workers, device,
    )  # fmt: skip
    centroids = fit_centroids(sample.points, num_codes, cfg.kmeans.epochs, cfg.kmeans.batch_size, cfg.seed)
    found = code_statistics(sample, centroids, device)
    about = dict(
        num_codes=num_codes, dim=centroids.shape[1], num_patches=len(sample.points), seed=cfg.seed,
        perplexity=perplexity(found["counts"]), dead_codes=int((found["counts"] == 0).sum()),
        features=cfg.features.to_dict(), weights_sha256=features.sha256, kmeans=cfg.kmeans.to_dict(),
        transform=cfg.train_dataloader.dataset.transform.to_dict(),
    )  # fmt: skip
    path = os.path.join(cfg.work_dir, "codebook")
    os.makedirs(cfg.work_dir, exist_ok=True)
    with published(f"{path}.pth") as part:
        torch.save({"centroids": centroids, **found, **about}, part)
    Image.fromarray(draw_codes(found["patches"], found["counts"]).numpy()).save(
        os.path.join(cfg.work_dir, "codes.png")
    )
    about["sha256"] = sha256_file(f"{path}.pth")
    write_atomically(f"{path}.json", json.dumps(about, indent=1))
    return (f"{path}.pth: {num_codes} codes of {len(sample.points)} patches, perplexity {about['perplexity']:.1f}, "
            f"{about['dead_codes']} dead codes")


def store(cfg) -> str:
    """Write the ids of the training set; return what to say about them."""
    import torch
    from mmengine.device import get_device
    from torch.utils.data import DataLoader

    from mimtransfer.errors import UserError
    from mimtransfer.registry import TOKENIZERS
    from pretrain.tokenizers.codebook import batches, perplexity
    from pretrain.tokenizers.stored import store_ids

    view = cfg.get("view")
    if view is None or view.type not in ("CenterCrop", "ResizeWhole"):
        raise UserError(f"--ids: got view={view}, expected one that shows an image the same way each time: "
                        "view=dict(type='CenterCrop' or 'ResizeWhole', size=...) in the config")
    default = dict(type="KMeansTokenizer", codebook=os.path.join(cfg.work_dir, "codebook.pth"))
    tokenizer = TOKENIZERS.build(cfg.get("tokenizer") or default).eval().to(get_device())
    dataset, folder = build_dataset(cfg, dict(view)), os.path.join(cfg.work_dir, "ids")
    loader = DataLoader(dataset, cfg.train_dataloader.batch_size, num_workers=cfg.train_dataloader.num_workers)
    counts = torch.from_numpy(store_ids(tokenizer, dataset, dict(view), batches(loader, get_device(), "ids"), folder))
    return (f"{folder}: ids of {len(dataset)} images, perplexity {perplexity(counts):.1f} of {len(counts)} codes, "
            f"{int((counts == 0).sum())} unused")


def main() -> None:
    """Fit, or store."""
    args = parse_args()
    from mimtransfer.cli.clean_exit import clean_exit

    with clean_exit():
        from mimtransfer.cli import launch

        cfg = launch.load_config(args.config, args.cfg_options)
        launch.set_work_dir(cfg, args.work_dir, args.config)
        launch.enter_scope(cfg)
        cfg.seed = cfg.get("seed", 0) if args.seed is None else args.seed
        start = time.perf_counter()
        said = store(cfg) if args.ids else fit(cfg)
        print(f"{said}; {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
