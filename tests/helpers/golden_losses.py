"""The first losses of every method and task, from its config and made-up data.

Only the code decides them. Weights and dropout are drawn by torch from seed 0; images, boxes, labels, crops, codes and
maps are numbers of numpy's legacy generator, whose stream is frozen. A change that is meant to change losses renews
`tests/fixtures/golden_losses.json`, and its commit says which curves changed and why:

    OMP_NUM_THREADS=1 python tests/helpers/golden_losses.py [NAME ...]          # without names: all curves
"""
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope, init_default_scope

import mimtransfer  # noqa: F401  before mmdet and mmseg, which need mmcv's operators
import pretrain.methods  # noqa: F401
from mimtransfer.registry import PATCH_FEATURES
from pretrain.aug_record import AugRecord
from pretrain.masking.bank import MapBank

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "golden_losses.json"
BATCH, NUM_CODES, NUM_PARTS = 4, 16, 4


class Case(NamedTuple):
    """One golden curve.

    Attributes:
        config: below `configs`.
        data: kind of the batches.
        maps: what the bank of a `Measured` strategy holds: "weights" or "parts"; None: no bank.
        steps: of the optimizer.
    """

    config: str
    data: str = "pretrain"
    maps: str | None = None
    steps: int = 6


CASES = {
    "mae": Case("debug/mae_vit-debug_2e_folder.py"),
    "mae_amt": Case("pretrain/mae_amt_vit-tiny-p4_10e_cifar10.py", maps="weights"),
    "mae_famt": Case("pretrain/mae_famt_vit-demo_scenes.py", maps="weights"),
    "mae_semantic": Case("pretrain/mae_semantic_vit-tiny-p4_10e_cifar10.py", maps="parts"),
    "simmim": Case("debug/simmim_vit-debug_2e_folder.py"),
    "beit": Case("debug/beit_block_vit-debug_2e_folder.py"),
    "mapet": Case("debug/mapet_vit-debug_2e_folder.py"),
    "mfm": Case("debug/mfm_vit-debug_2e_folder.py"),
    "mask_rcnn": Case("detection/mask-rcnn_vit-demo_scenes.py", "detection"),
    # Batch norm of few values: after 4 steps the rounding of another processor has grown to more than 1e-6.
    "upernet": Case("segmentation/upernet_vit-demo_scenes.py", "segmentation", steps=4),
    "classifier": Case("classification/finetune_vit-tiny-p4_5e_cifar10.py", "classification"),
}


def losses(name: str) -> dict[str, list[float]]:
    """Train the model of a case on the CPU, in one thread, and return each logged loss of each step."""
    case = CASES[name]
    cfg = Config.fromfile(ROOT / "configs" / case.config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    init_default_scope(cfg.default_scope)
    try:
        return _train(cfg, case)
    finally:
        DefaultScope._instance_dict.clear()  # names would be looked up in this scope's library from here on
        torch.set_num_threads(threads)


def _train(cfg: Config, case: Case) -> dict[str, list[float]]:
    model, make = build(cfg, case)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    curves: dict[str, list[float]] = {}
    for step in range(case.steps):
        logged = model.train_step(make(step), optim_wrapper)
        for key, value in logged.items():
            if "loss" in key:
                curves.setdefault(key, []).append(value.item())
    return curves


def build(cfg: Config, case: Case) -> tuple[BaseModel, Callable[[int], dict]]:
    """Return the model in its first state, in training mode, and what makes the batch of a step."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if "tokenizer" in cfg.model:
            cfg.model.tokenizer.codebook = _write_codebook(Path(folder, "codebook.pth"), cfg)
        model: BaseModel = MODELS.build(cfg.model).train()
    model.init_weights()
    size = _image_size(cfg, case.data)
    if case.maps is not None:
        model.strategy.bank = _fill_bank(case.maps, model.encoder, size)
    kinds = dict(pretrain=_images, classification=_labelled, detection=_scenes_with_boxes, segmentation=_index_maps)
    return model, lambda step: kinds[case.data](np.random.RandomState(step), size)


def _image_size(cfg: Config, data: str) -> int:
    if data == "pretrain":
        return cfg.train_dataloader.dataset.transform.size
    return cfg.model.backbone.img_size


def _pixels(state: np.random.RandomState, size: int) -> torch.Tensor:
    """Draw smooth colours with some noise, [B, 3, H, W] uint8."""
    smooth = state.uniform(0, 255, (BATCH, 3, 4, 4)).repeat(size // 4, 2).repeat(size // 4, 3)
    noisy = smooth + state.normal(0, 20, smooth.shape)
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))


def _images(state: np.random.RandomState, size: int) -> dict:
    corner, side = state.uniform(0, 0.4, (BATCH, 2)), state.uniform(0.5, 0.6, (BATCH, 2))
    record = AugRecord(
        index=torch.arange(BATCH),
        seed=torch.from_numpy(state.randint(0, 2**31 - 1, BATCH).astype(np.int64)),
        box=torch.from_numpy(np.concatenate([corner, corner + side], 1).astype(np.float32)),
        flip=torch.from_numpy(state.rand(BATCH) < 0.5),
    )
    return dict(inputs=_pixels(state, size), record=record)


def _labelled(state: np.random.RandomState, size: int) -> dict:
    return dict(inputs=_pixels(state, size), label=torch.from_numpy(state.randint(0, 10, BATCH)))


def _scenes_with_boxes(state: np.random.RandomState, size: int) -> dict:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    samples = []
    for _ in range(BATCH):
        corner, side = state.randint(0, size // 2, (3, 2)), state.randint(size // 4, size // 2, (3, 2))
        boxes = np.concatenate([corner, corner + side], 1)  # [3, 4] x0 y0 x1 y1
        masks = np.zeros((3, size, size), np.uint8)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes):
            mask[y0:y1, x0:x1] = 1
        instances = InstanceData(
            bboxes=torch.from_numpy(boxes.astype(np.float32)), labels=torch.from_numpy(state.randint(0, 5, 3)),
            masks=BitmapMasks(masks, size, size),
        )  # fmt: skip
        meta = dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(gt_instances=instances, metainfo=meta))
    return dict(inputs=list(_pixels(state, size)), data_samples=samples)


def _index_maps(state: np.random.RandomState, size: int) -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(BATCH):
        labels = state.randint(0, 10, (1, 8, 8)).repeat(size // 8, 1).repeat(size // 8, 2)
        meta = dict(img_shape=(size, size), ori_shape=(size, size))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(labels)), metainfo=meta))
    return dict(inputs=list(_pixels(state, size)), data_samples=samples)


def _fill_bank(maps: str, encoder: torch.nn.Module, size: int) -> MapBank:
    grid = encoder.patch_grid(torch.empty(1, 3, size, size))
    state = np.random.RandomState(0)
    values = state.rand(BATCH, *grid) if maps == "weights" else state.randint(0, NUM_PARTS, (BATCH, *grid))
    return MapBank(values.astype(np.float16))


def _write_codebook(path: Path, cfg: Config) -> str:
    """Write what tools/fit_tokenizer.py writes, of fixed numbers, and return where."""
    fit = Config.fromfile(ROOT / "configs" / "tokenizer" / f"{Path(cfg.model.tokenizer.codebook).parent.name}.py")
    features = PATCH_FEATURES.build(fit.features)
    side = cfg.model.encoder.patch_size
    colours = np.random.RandomState(0).rand(NUM_CODES, 1, 1, 3)  # the mean patch of a code is of one colour
    patches = torch.from_numpy((255 * colours).astype(np.uint8)).expand(-1, side, side, -1).clone()
    with torch.no_grad():
        centroids = features(patches.permute(0, 3, 1, 2).float() / 255).flatten(0, 2)  # [codes, D]
    source = dict(features=fit.features.to_dict(), weights_sha256=features.sha256)
    torch.save(dict(centroids=centroids, patches=patches, **source), path)
    return str(path)


def main() -> None:
    """Renew the fixture, or the named curves of it."""
    unknown = set(sys.argv[1:]) - set(CASES)
    if unknown:
        raise SystemExit(f"error: no curve is called {sorted(unknown)[0]!r}; there are {', '.join(CASES)}")
    MMLogger.get_instance("golden_losses", log_level="WARNING")  # else a table of every model's weights is printed
    kept = json.loads(FIXTURE.read_text()) if FIXTURE.exists() else {}
    names = sys.argv[1:] or list(CASES)
    curves = {name: losses(name) if name in names else kept[name] for name in CASES if name in names or name in kept}
    FIXTURE.write_text(json.dumps(curves, indent=1) + "\n")
    changed = [name for name in names if kept.get(name) != curves[name]]
    print(f"{FIXTURE.name}: {len(names)} curves computed, changed: {', '.join(changed) or 'none'}")


if __name__ == "__main__":
    main()
