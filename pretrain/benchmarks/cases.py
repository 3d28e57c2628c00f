"""What tools/gpu_report.py times: groups of cases that run in turns, each with a tiny double for `--quick`."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from mimtransfer.benchmarks import peers, transfer_steps
from mimtransfer.benchmarks.timing import Contender, count_flops
from mimtransfer.registry import TOKENIZERS
from mimtransfer.shipped.places import shipped
from mimtransfer.training.precision import allow_tf32, tf32
from pretrain.benchmarks.loading import build_loader, write_pictures
from pretrain.benchmarks.steps import PretrainSteps, load, write_random_dvae

_CONFIGS = shipped("configs")
# name -> (config on a GPU, its batch, config of --quick)
_PRETRAIN = {
    "MAE ViT-B": ("pretrain/mae_vit-base_800e_in1k.py", 128, "debug/mae_vit-debug_2e_folder.py"),
    "MAE ViT-L": ("pretrain/mae_vit-large_800e_in1k.py", 64, "debug/mae_vit-debug_2e_folder.py"),
    "AMT": ("pretrain/mae_amt_vit-base_400e_in1k.py", 128, "pretrain/mae_amt_vit-tiny-p4_10e_cifar10.py"),
    "FAMT": ("pretrain/mae_famt_vit-base_800e_in1k_m60-t15.py", 128, "pretrain/mae_famt_vit-tiny-p4_10e_cifar10.py"),
    "semantic": ("pretrain/mae_semantic_vit-base_800e_in1k.py", 128,
                 "pretrain/mae_semantic_vit-tiny-p4_10e_cifar10.py"),
    "random": ("pretrain/mae_vit-base_800e_in1k.py", 128, "pretrain/mae_vit-tiny-p4_10e_cifar10.py"),
    "SimMIM ViT-B": ("pretrain/simmim_vit-base_800e_in1k.py", 64, "debug/simmim_vit-debug_2e_folder.py"),
    "MFM ViT-B": ("pretrain/mfm_vit-base_300e_in1k.py", 64, "debug/mfm_vit-debug_2e_folder.py"),
    "MaPeT ViT-B": ("pretrain/mapet_vit-base_300e_in1k.py", 64, "debug/mapet_vit-debug_2e_folder.py"),
}  # fmt: skip
# name -> (config, batch, side) on a GPU, and of --quick
_TRANSFER = {
    "Mask R-CNN, ViTDet ViT-B": (("detection/mask-rcnn_vitdet_vit-base_100e_coco.py", 2, 1024),
                                 ("detection/mask-rcnn_vit-demo_scenes.py", 2, 64)),
    "UperNet, ViT-B": (("segmentation/upernet_vit-base_160k_ade20k-512x512.py", 4, 512),
                       ("segmentation/upernet_vit-demo_scenes.py", 2, 64)),
}
_DEBUG_MAE = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, decoder_embed_dim=32, decoder_depth=1,
                  decoder_num_heads=4)
_OFFICIAL = {"MAE ViT-B": dict(embed_dim=768, depth=12, num_heads=12),
             "MAE ViT-L": dict(embed_dim=1024, depth=24, num_heads=16)}
_TINY_VITDET = dict(arch="vit_tiny_patch16_224", model_kwargs=dict(embed_dim=48, depth=2, num_heads=3), window_size=4,
                    global_blocks=(1,), rel_pos_size=128)
_TINY_DETECTRON2 = dict(img_size=128, embed_dim=48, depth=2, num_heads=3, window_size=4, window_block_indexes=[0])


@dataclass(frozen=True)
class Setting:
    """What the command line asks for.

    Attributes:
        device: cpu, cuda, cuda:1 ...
        quick: the tiny doubles.
        folder: for files of random weights and pictures.
        official_mae, detectron2: checkouts of other code.
    """

    device: str
    quick: bool
    folder: Path
    official_mae: str | None = None
    detectron2: str | None = None

    @property
    def backend(self) -> str:
        """Of torch.compile. On a CPU without a compiler of C++, inductor cannot run, and `--quick` has to."""
        return "aot_eager" if self.quick and self.device == "cpu" else "inductor"


@dataclass(frozen=True)
class Case:
    """One row of the report.

    Attributes:
        name: in its group.
        build: makes what is timed.
        config: what it is built from.
        batch_size: images of a step.
        precision: "fp32" (TF32 on a GPU) or "bf16" (autocast).
        compiled: by torch.compile.
        loads: it waits for data, which the group's first case does not.
    """

    name: str
    build: Callable[[], Contender]
    config: str
    batch_size: int
    precision: str = "bf16"
    compiled: bool = False
    loads: bool = False

    @property
    def about(self) -> dict[str, Any]:
        """What the row says of it."""
        return dict(config=self.config, batch_size=self.batch_size, precision=self.precision, compiled=self.compiled)


def groups(setting: Setting) -> dict[str, list[Case]]:
    """Return all cases; the first of a group is what the others are compared with."""
    found = {name: list(_methods(setting, name)) for name in ("MAE ViT-B", "MAE ViT-L")}
    found["Masking strategies, MAE ViT-B"] = [
        _pretrain(setting, name) for name in ("random", "AMT", "FAMT", "semantic")
    ]
    found |= {name: list(_methods(setting, name)) for name in ("SimMIM ViT-B", "MFM ViT-B", "MaPeT ViT-B")}
    found["dVAE tokenizer"] = list(_tokenizer(setting))
    found["Measuring maps, ViT-B"] = [_measuring(setting, name) for name in ("AMT", "FAMT", "semantic")]
    found["Loading, MAE ViT-B"] = list(_loading(setting))
    found["ViTDet backbone, forward and backward"] = list(_backbones(setting))
    found |= {name: [_transfer(setting, name)] for name in _TRANSFER}
    return found


def _methods(setting: Setting, name: str) -> Iterator[Case]:
    if name in _OFFICIAL:
        yield _pretrain(setting, name, "fp32", title="eager")
    yield _pretrain(setting, name, title="eager")
    yield _pretrain(setting, name, title="compiled", compiled=True)
    if name in _OFFICIAL and setting.official_mae:
        batch = _batch(setting, name)
        yield Case("official code", partial(_official, setting, name, batch), setting.official_mae, batch)


def _batch(setting: Setting, name: str) -> int:
    return 4 if setting.quick else _PRETRAIN[name][1]


def _config(setting: Setting, name: str) -> str:
    config, _, quick = _PRETRAIN[name]
    return quick if setting.quick else config


def _pretrain(
    setting: Setting, name: str, precision: str = "bf16", title: str | None = None, compiled: bool = False
) -> Case:
    batch = _batch(setting, name)

    def build() -> Contender:
        return _steps(setting, name, precision, compiled).step()

    return Case(title or name, build, _config(setting, name), batch, precision, compiled)


def _steps(setting: Setting, name: str, precision: str = "bf16", compiled: bool = False) -> PretrainSteps:
    cfg = load(str(_CONFIGS / _config(setting, name)), [], precision == "bf16")
    if "tokenizer" in cfg.model:
        cfg.model.tokenizer, cfg.model.num_codes = _dvae(setting), None
    return PretrainSteps(cfg, _batch(setting, name), setting.device, setting.backend if compiled else None)


def _dvae(setting: Setting) -> dict[str, Any]:
    path = setting.folder / "encoder.pkl"
    if not path.exists():
        write_random_dvae(path, *((8, 64) if setting.quick else ()))
    return dict(type="DALLETokenizer", checkpoint=str(path), input_size=32 if setting.quick else 112)


def _official(setting: Setting, name: str, batch: int) -> Contender:
    allow_tf32()
    arch = _DEBUG_MAE if setting.quick else _OFFICIAL[name]
    model = peers.official_mae(str(setting.official_mae), **arch).to(setting.device).train()
    side = arch.get("img_size", 224)
    images = torch.randn(batch, 3, side, side, device=setting.device)
    return Contender(peers.mae_step(model, images, amp=True), batch)


def _tokenizer(setting: Setting) -> Iterator[Case]:
    """As it ships, and all of it in float32, in torch's usual order."""
    batch = _batch(setting, "MaPeT ViT-B")

    def build(shipped: bool) -> Contender:
        allow_tf32()
        config = _dvae(setting)
        tokenizer = TOKENIZERS.build(config)
        side = config["input_size"]
        images = torch.rand(batch, 3, side, side, device=setting.device)
        if shipped:
            tokenizer.to(setting.device)
            return Contender(lambda: tokenizer(images), batch)
        encoder = tokenizer.encoder.to(setting.device)

        def plain() -> None:
            with torch.no_grad(), tf32():
                for part in images.split(32):
                    encoder(part).argmax(1)

        return Contender(plain, batch)

    yield Case("float32", partial(build, False), "made-up images", batch, "fp32")
    shipped = "fp16, channels_last" if setting.device != "cpu" else "as shipped"
    yield Case(shipped, partial(build, True), "made-up images", batch, "fp32")


def _measuring(setting: Setting, name: str) -> Case:
    batch = _batch(setting, name)

    def build() -> Contender:
        return Contender(_steps(setting, name).parts()["measuring maps"], batch)

    return Case(name, build, _config(setting, name), batch)


def _loading(setting: Setting) -> Iterator[Case]:
    """A step on a batch that is there, and with the loader before it; crops are resized there or on the device."""
    name = "MAE ViT-B"
    yield _pretrain(setting, name, title="made-up batch")
    batch = _batch(setting, name)

    def build(augment: str) -> Contender:
        steps, folder = _steps(setting, name), setting.folder / "pictures"
        if not folder.exists():
            write_pictures(folder, 16 if setting.quick else 1024, (40, 48) if setting.quick else (375, 500))
        workers = 1 if setting.quick else None
        return steps.step(build_loader(steps.cfg, folder, batch, workers, augment))

    for augment in ("host", "device"):
        title = f"JPEG files, augment={augment}"
        yield Case(title, partial(build, augment), _config(setting, name), batch, loads=True)


def _backbones(setting: Setting) -> Iterator[Case]:
    side, batch = (128, 1) if setting.quick else (1024, 2)

    def build(theirs: bool = False, amp: bool = True, compiled: bool = False) -> Contender:
        allow_tf32()
        ours, others = (_TINY_VITDET, _TINY_DETECTRON2) if setting.quick else ({}, {})
        if theirs:
            model = peers.detectron2_vit(str(setting.detectron2), **others)
        else:
            model = transfer_steps.vitdet_backbone(**ours)
        last = itemgetter("last_feat" if theirs else 0)
        model.to(setting.device).train()
        images = torch.randn(batch, 3, side, side, device=setting.device)
        one = transfer_steps.backbone_step(model, images[:1], amp, last)
        model.eval()  # without kernels that torch's counter does not know
        flops = count_flops(one, batch)
        model.train()
        run: Any = torch.compile(model, dynamic=False, backend=setting.backend) if compiled else model
        return Contender(transfer_steps.backbone_step(run, images, amp, last), batch, flops)

    config = "_base_/model/mask-rcnn_vitdet.py"
    yield Case("eager", partial(build, amp=False), config, batch, "fp32")
    yield Case("eager", build, config, batch)
    yield Case("compiled", partial(build, compiled=True), config, batch, compiled=True)
    if setting.detectron2:
        yield Case("detectron2", partial(build, theirs=True), setting.detectron2, batch)


def _transfer(setting: Setting, name: str) -> Case:
    config, batch, side = _TRANSFER[name][1 if setting.quick else 0]
    build = partial(transfer_steps.build_transfer, str(_CONFIGS / config), batch, side, setting.device, True, [])
    return Case("training step", build, config, batch)
