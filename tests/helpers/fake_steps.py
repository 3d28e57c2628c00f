"""Training steps of the shipped configs on a fake CUDA device: small models of the same kinds."""
from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from fake_cuda import Watch, fake_cuda
from mmengine.optim import build_optim_wrapper
from shipped_configs import leaves, load
from tokenizer_files import write_tokenizer

import pretrain.methods  # noqa: F401
from mimtransfer.registry import MODELS
from mimtransfer.training.deferred_log import keep_norms
from mimtransfer.training.precision import set_amp
from pretrain.aug_record import AugRecord
from pretrain.data.on_device import CANVAS
from pretrain.hooks.map_bank import measure_maps
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured
from pretrain.methods.teacher import LatentPrediction

BATCH = 4
# Options that are numbers of the same operators.
_NUMBERS = {"type", "mask_ratio", "throw_ratio", "warmup", "num_seeds", "num_parts", "temperature", "area", "radius",
            "low_pass_ratio", "factor", "num_blocks", "min_aspect"}


def kind(cfg: Any) -> tuple[str, ...]:
    """Return what decides which operators a step runs: method, strategy or corruption, tokenizer, encoder.

    What is independent of each other is not combined: tokenizers are tried with BEiT, corruptions with plain ViTs,
    decoders with one strategy.
    """
    model = cfg.model
    drawn = model.get("strategy") or model.get("corruption") or dict(type="FrequencyMasking")
    options = [f"{key}={value}" for key, value in drawn.items() if key not in _NUMBERS]
    named = ("auxiliary", "frequency_loss", "masks_per_image", "permuted")
    method = [model.type, *sorted(key for key in model if key in named)]
    decoder = (model.get("decoder") or {}).get("type")
    if decoder:
        return f"{model.type} {decoder}", "", "", "TimmViT"
    encoder = model.encoder.type.rpartition(".")[2]
    drawn_by = " ".join([drawn["type"], *sorted(options)]) if encoder == "TimmViT" else ""
    return " ".join(method), drawn_by, model.tokenizer.type if model.type == "BEiT" else "", encoder


def pretraining_kinds() -> dict[tuple[str, ...], str]:
    """Return one config for each kind: one that throws patches where there is one, then the cheapest."""
    found: dict[tuple[str, ...], str] = {}
    for leaf in sorted(leaves("pretrain", "debug"), key=_cost):
        found.setdefault(kind(load(leaf)), leaf)
    return dict(sorted(found.items()))


def _cost(leaf: str) -> tuple[bool, bool, bool, int]:
    cfg = load(leaf)
    throws = (cfg.model.get("strategy") or {}).get("throw_ratio", 1) > 0
    # Codebooks of features need a checkpoint.
    features = "pixels" not in str(cfg.model.get("tokenizer"))
    size = cfg.train_dataloader.dataset.transform.size
    return not throws, "tokenizer" in cfg.model and features, not leaf.startswith("debug"), size


def shrink(cfg: Any) -> None:
    """Make a method narrow and shallow; options stay. Plain ViTs get one size of images and patches, for torch keeps
    what it has found out about fake tensors of the same shapes; codebooks of k-means have patches of their own size.
    """
    model, encoder = cfg.model, cfg.model.encoder
    if encoder.type.endswith("TimmViT"):
        encoder.model_kwargs = dict(encoder.get("model_kwargs") or {}, depth=1, embed_dim=48, num_heads=3)
        if model.get("tokenizer", {}).get("type") != "KMeansTokenizer":
            encoder.img_size, encoder.patch_size, cfg.train_dataloader.dataset.transform.size = 32, 8, 32
        if model.get("tokenizer", {}).get("type") == "DALLETokenizer":
            model.tokenizer.input_size = 32
    elif encoder.type.endswith("TimmSwin"):
        encoder.model_kwargs = dict(embed_dim=24, depths=(2, 1, 1, 1), num_heads=(1, 2, 3, 3))
    else:
        encoder.arch = "resnet10t"
    if model.type == "Data2Vec2":
        model.update(decoder=dict(embed_dim=48, depth=1, groups=16), top_blocks=1)
    elif "decoder" in model:
        model.decoder = dict(model.decoder, embed_dim=48, depth=1, num_heads=3)
    if "predictor" in model:
        model.predictor = dict(embed_dim=48, depth=1, num_heads=3)


def build_pretraining(leaf: str) -> tuple[Any, Any, dict[str, Any]]:
    """Build a small method of a config's kind on the CPU, with the file of its tokenizer in the working directory;
    return it, its config, and a batch as a loader gives it.
    """
    cfg = load(leaf)
    shrink(cfg)
    size = cfg.train_dataloader.dataset.transform.size
    if "tokenizer" in cfg.model:
        side = cfg.model.encoder.get("patch_size", 16)
        cfg.model.num_codes = None
        write_tokenizer(cfg.model.tokenizer, 16, (size // side, size // side), narrower=16)
    cfg.optim_wrapper.accumulative_counts = 1
    model = MODELS.build(cfg.model).train()
    if isinstance(model.strategy, Measured):
        model.strategy.bank = MapBank(np.zeros((1, *model.encoder.grid_size), np.float16))
    number, flip = torch.zeros(BATCH, dtype=torch.int64), torch.zeros(BATCH, dtype=torch.bool)
    record = AugRecord(number, number, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(BATCH, 1), flip)
    return model, cfg, dict(inputs=torch.zeros(BATCH, 3, size, size, dtype=torch.uint8), record=record)


def move(model: Any, watch: Watch) -> None:
    """Bring a model to the device, whole, and let its batches follow as they do in a run."""
    with watch.rest():
        model.to("cuda")
    tensors = [*model.named_parameters(), *model.named_buffers()]
    left = sorted(name for name, tensor in tensors if tensor.device.type != "cuda")
    assert not left, f"not on the device: {left}"
    model.data_preprocessor._non_blocking = True


def train_in_both_precisions(model: Any, cfg: Any, data: dict[str, Any], watch: Watch) -> dict[str, int]:
    """Do a training step in fp32 and one in bf16 autocast: preprocessor, strategy, layout, loss, gradients, optimizer;
    all parameters get theirs. Return how often the host waited in each.
    """
    waited = {}
    for amp in (False, True):
        set_amp(cfg, amp)
        with watch.rest():
            optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
            keep_norms(optimizer)
        optimizer.zero_grad = lambda **options: None  # gradients are looked at below
        before = watch.waits.total()
        logged = model.train_step(data, optimizer)
        if isinstance(model, LatentPrediction):
            model.update_teacher(0.5)
        waited["bf16" if amp else "fp32"] = watch.waits.total() - before
        assert all(value.device.type == "cuda" for value in logged.values())
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        lacking = [name for name, parameter in trained.items() if parameter.grad is None]
        assert trained and not lacking, f"without gradient: {lacking}"
        model.zero_grad()
    return waited


def measure_in_both_precisions(model: Any, data: dict[str, Any]) -> None:
    """Measure the maps of some whole images, as `MapBankHook` does."""
    for amp in (False, True):
        with torch.no_grad():  # fake tensors of inference mode look for the driver
            maps = measure_maps.__wrapped__(model, data["inputs"], amp)
        assert maps.device.type == "cuda" and maps.shape == (BATCH, *model.encoder.grid_size)


def pretrain_step(leaf: str, strict: bool = True, augment: str = "host") -> dict[str, int]:
    """Do the steps of a config's kind, and measure where its strategy measures; return how often the host waited."""
    model, cfg, data = build_pretraining(leaf)
    if augment == "device":
        height, width = data["inputs"].shape[2:]
        canvas = torch.zeros(BATCH, CANVAS * height, CANVAS * width, 3, dtype=torch.uint8)
        data |= dict(inputs=canvas, crop=torch.tensor([[0.0, 0.0, height, width]]).repeat(BATCH, 1))
    with fake_cuda(strict) as watch:
        move(model, watch)
        waited = train_in_both_precisions(model, cfg, data, watch)
        if isinstance(model.strategy, Measured):
            before = watch.waits.total()
            measure_in_both_precisions(model, data)
            waited["measure"] = watch.waits.total() - before
    return waited


def classify(leaf: str, strict: bool = True) -> dict[str, int]:
    """Do the steps of a config of a classifier, and predict; return how often the host waited."""
    cfg = load(leaf)
    encoder = cfg.model.backbone
    if encoder.type.endswith("TimmViT"):
        encoder.model_kwargs = dict(encoder.get("model_kwargs") or {}, depth=1, embed_dim=48, num_heads=3)
        encoder.img_size, encoder.patch_size = 32, 8
    size = encoder.get("img_size", 224)
    model = MODELS.build(cfg.model).train()
    data = dict(inputs=torch.zeros(BATCH, 3, size, size, dtype=torch.uint8), label=torch.arange(BATCH))
    with fake_cuda(strict) as watch:
        move(model, watch)
        waited = {}
        if cfg.get("optim_wrapper"):
            cfg.optim_wrapper.accumulative_counts = 1
            waited = train_in_both_precisions(model, cfg, data, watch)
        before, model = watch.waits.total(), model.eval()
        with torch.no_grad():
            images = model.data_preprocessor(data, False)["inputs"]
            assert model(images).device.type == "cuda"
        waited["predict"] = watch.waits.total() - before
    return waited
