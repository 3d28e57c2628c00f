"""A run is the same from every kind of source: stopped and resumed, with and without workers, with broken images."""
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from source_files import SOURCES, write_sources

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.registry import HOOKS
from mimtransfer.training.safeguards import set_safeguards
from pretrain.runner import build_runner

DEBUG = str(Path(__file__).parents[3] / "configs/debug/mae_vit-debug_2e_folder.py")

BROKEN = {4: b"<html>", 25: b""}  # 5 % of the images: another file, and an empty one
READ_AS = {"folder": "folder", "list": "list", "tar": "tar", "zip": "zip", "parquet": "parquet", "paths": "parquet",
           "hf": "Hugging Face data set", "hf_paths": "Hugging Face data set"}


def content(number):
    image, buffer = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8), io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG" if number % 2 else "PNG")
    whole = buffer.getvalue()
    return BROKEN.get(number, whole)


@pytest.fixture(scope="module", autouse=True)
def sources(tmp_path_factory):
    import datasets

    root = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        patch.setattr("mmengine.config.config.FormatCode", lambda code, **options: (code, False))  # half of the time
        yield write_sources(root / "files", {f"{number:02d}.jpg": content(number) for number in range(40)})


class Stopped(BaseException):
    pass


@HOOKS.register_module(force=True)
class BatchDigestHook(Hook):
    """Note a digest of each batch, over all calls; stop before an iteration (from 1)."""

    def __init__(self, stop=None):
        self.stop = stop

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.stop:
            raise Stopped
        digest = hashlib.sha256(data_batch["inputs"].numpy().tobytes())
        for field in data_batch["record"]:
            digest.update(field.numpy().tobytes())
        with open(Path(runner.work_dir, "batches.txt"), "a") as file:
            file.write(f"{runner.iter} {digest.hexdigest()}\n")


def run(work_dir, source, workers=0, stop=None, **dataset):
    """Pretrain for two epochs of five iterations, as tools/pretrain.py does."""
    cfg = Config.fromfile(DEBUG)
    cfg.train_dataloader.merge(dict(num_workers=workers, persistent_workers=workers > 0))
    cfg.train_dataloader.dataset = dict(type="ImageSource", source=source, decoder="pillow", max_corrupt=2,
                                        transform=dict(type="RandomResizedCropFlip", size=32), **dataset)
    cfg.custom_hooks = [dict(type="SeedHook"), dict(type="RecordHook"), dict(type="BatchDigestHook", stop=stop)]
    cfg.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    cfg.work_dir = str(work_dir)
    launch.enter_scope(cfg)
    launch.set_resume(cfg, "auto")
    set_safeguards(cfg, save_every_iters=2)
    runner = build_runner(cfg)
    if stop is None:
        runner.train()
    else:
        with pytest.raises(Stopped):
            runner.train()


def batches(work_dir):
    return dict(line.split() for line in Path(work_dir, "batches.txt").read_text().splitlines())


def weights(work_dir):
    return read_checkpoint(Path(work_dir, "epoch_2.pth"), mapped=False)["state_dict"]


def log(work_dir):
    return "".join(path.read_text() for path in sorted(Path(work_dir).glob("*/*.log")))


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory):
    """An uninterrupted run from the folder, without workers."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, sources["folder"])
    return folder


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_run_from_every_source(kind, sources, whole, tmp_path):
    """Stopped in the second epoch, gone on from within it with two workers; of 40 images two are broken."""
    run(tmp_path, sources[kind], stop=9)
    first = log(tmp_path)
    run(tmp_path, sources[kind], workers=2)
    assert len(batches(tmp_path)) == 10 and batches(tmp_path) == batches(whole)
    assert all(map(torch.equal, weights(tmp_path).values(), weights(whole).values()))
    names = ["04.jpg", "25.jpg"] if kind in ("folder", "list", "tar", "zip") else ["[4]", "[25]"]
    for said in (first, log(tmp_path)[len(first) :]):  # each call names them, once
        lines = [line for line in said.splitlines() if "cannot be read" in line]
        assert [sum(f"{name} cannot be read" in line for line in lines) for name in names] == [1, 1], lines
        assert "1 so far, limit max_corrupt=2" in said and "2 so far, limit max_corrupt=2" in said
    assert f"Images: {READ_AS[kind]}, decoder pillow" in first
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["reading"] == {"source": READ_AS[kind], "decoder": "pillow"}


