"""Every shipped pretraining config: it resolves, is what its name says, and its model and hooks build."""
import re
from pathlib import Path

import pytest
import torch
from brightness_tokenizer import BrightnessTokenizer  # noqa: F401  registers it
from mmengine.config import Config
from shipped_configs import ROOT, leaves, load

import pretrain.data
import pretrain.hooks
import pretrain.methods  # noqa: F401
from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.draws import SampleGenerator
from mimtransfer.registry import CORRUPTIONS, HOOKS, MODELS, TOKENIZERS
from pretrain.masking.measured import Measured
from pretrain.methods.mfm import MFM

pytestmark = pytest.mark.usefixtures("quick_weights")
LEAVES = leaves("pretrain", "debug")
METHODS = {"mae": "MAE", "simmim": "SimMIM", "mfm": "MFM", "mapet": "MaPeT", "beit": "BEiT", "ijepa": "IJEPA",
           "data2vec2": "Data2Vec2"}
OWN_MASKS = ("ijepa", "data2vec2")  # several masks of an image are part of the method
OWN_STRATEGIES = {"ijepa": "MultiBlock", "data2vec2": "Block"}
STRATEGIES = {"amt": "AMT", "famt": "FAMT", "semantic": "Semantic", "noise": "Noise", "block": "Block", "grid": "Grid"}
VARIANTS = {"sr": "SuperResolution", "deblur": "Blur", "denoise": "Noise"}
# visible, masked, thrown of 14 x 14 patches (arXiv 2211.15362; MAE's sizes where nothing is thrown)
COUNTS = {
    "mae_vit-base_800e_in1k": (49, 147, 0),
    "mae_cross_vit-base_800e_in1k": (49, 147, 0),
    "mae_cross-amt_vit-base_400e_in1k": (30, 88, 78),
    "mae_amt_vit-base_400e_in1k": (30, 88, 78),
    "mae_amt_vit-base_400e_in1k_mask-only": (49, 147, 0),
    "mae_amt_vit-small_800e_in1k_mask-only": (49, 147, 0),
    "mae_famt_vit-base_200e_in1k": (30, 88, 78),
    "mae_famt_vit-base_800e_in1k_m60-t15": (49, 117, 30),
    "mae_famt_vit-base_1600e_in1k_m60-t15": (49, 117, 30),
    "mae_famt_vit-small_200e_in1k": (30, 88, 78),
    "mae_famt_vit-small_800e_in1k": (30, 88, 78),
    "mae_famt_vit-small_800e_in1k_mask-only": (49, 147, 0),
    "mae_semantic_vit-base_800e_in1k": (49, 147, 0),
    "mae_noise_vit-base_800e_in1k": (49, 147, 0),
    "mae_block_vit-base_800e_in1k": (98, 98, 0),
    "mae_grid_vit-base_800e_in1k": (49, 147, 0),
    "mapet_vit-base_300e_in1k": (49, 147, 0),
    "mapet_permuted_vit-base_300e_in1k": (49, 147, 0),
    "beit_block_vit-base_300e_in1k": (121, 75, 0),
    "beit_block_vit-base_800e_in1k_dvae": (121, 75, 0),
    "ijepa_vit-base_600e_in1k": (51, 33, 112),  # of each target block
    "data2vec2_vit-base_75e_in1k": (39, 157, 0),
}


def with_toy_tokenizer(cfg: Config) -> Config:
    """Put a tokenizer without a file, of the size that the config names, in place of the config's."""
    if "tokenizer" in cfg.model:
        num_codes, side = cfg.model.get("num_codes", 16), cfg.model.encoder.get("patch_size", 16)
        toy = dict(type="BrightnessTokenizer", num_codes=num_codes, patch_size=side, _delete_=True)
        cfg.merge_from_dict({"model": {"tokenizer": toy}})
    return cfg


@pytest.mark.parametrize("leaf", LEAVES)
def test_is_what_its_name_says(leaf):
    cfg, stem, head = load(leaf), Path(leaf).stem, (ROOT / leaf).read_text().split('"""')[1]
    method, *rest = stem.split("_")
    masks = re.fullmatch(r"(\d+)-masks", rest[0])
    if method not in OWN_MASKS:
        assert cfg.model.get("masks_per_image", 1) == (int(masks[1]) if masks else 1)
    phased = "phases" in rest[0].split("-")
    assert phased == any(hook.type == "PhaseHook" for hook in cfg.custom_hooks)
    rest = rest[1:] if masks or rest[0] == "phases" else rest
    assert cfg.model.type == METHODS[method]
    variant = None if re.match("(rope-)?vit|swin|resnet", rest[0]) else rest[0].split("-")[0]
    if method == "mapet":
        assert cfg.model.get("auxiliary", True) == (variant != "permuted")
        # Else its rows in a table would have the name of MaPeT's.
        assert cfg.custom_hooks[-1].get("label") == ("MaPeT, permuted only" if variant else None)
        variant = None
    if method == "mfm":
        assert cfg.model.corruption.type == VARIANTS.get(variant, "FrequencyMasking")
    else:
        if variant == "cross":
            assert cfg.model.decoder.type == "CrossDecoder" and cfg.model.decoder.predict_ratio == 0.25
            assert [h.label[:8] for h in cfg.custom_hooks if h.type == "RecordHook"] == ["CrossMAE"]
            variant = rest[0].partition("-")[2].replace("phases", "")
        strategy = STRATEGIES[variant] if variant else OWN_STRATEGIES.get(method, "Random")
        assert cfg.model.get("strategy", dict(type="RandomMasking")).type == f"{strategy}Masking"
    arch = re.search(r"_(vit-|swin-|resnet)(tiny|small|base|large|50)", stem)
    if arch:
        assert f"{arch[1]}{arch[2]}".replace("-", "_") in cfg.model.encoder.arch
    epochs = re.search(r"_(\d+)e(_|$)", stem)
    if epochs:
        assert cfg.train_cfg.max_epochs == int(epochs[1])
    *_, last = cfg.param_scheduler
    assert last.end == cfg.train_cfg.max_epochs and last.get("T_max", last.end - last.begin) == last.end - last.begin
    batch = re.search(r"Effective batch: 8 GPUs x (\d+)(?: x accumulation (\d+))? = (\d+)", head)
    if "_in1k" in stem:
        assert re.search("Aims at|published", head) and re.search("[Nn]ot\\syet\\srun", head)
        assert ("Command: " in head and batch) or "names the command" in head
    if batch:
        accumulation = cfg.optim_wrapper.get("accumulative_counts", 1)
        assert [int(batch[1]), int(batch[2] or 1)] == [cfg.train_dataloader.batch_size, accumulation]
        assert int(batch[3]) == 8 * int(batch[1]) * accumulation


@pytest.mark.parametrize("leaf", LEAVES)
def test_model_and_hooks_build(leaf):
    cfg = with_toy_tokenizer(load(leaf))
    with torch.device("meta"):
        method = MODELS.build(cfg.model)
    size = cfg.train_dataloader.dataset.transform.size
    method.check_image_size(torch.empty(1, 3, size, size, device="meta"))
    if isinstance(method, MFM):
        images = torch.rand(2, 3, size, size)
        # Built again: on the meta device it has no values.
        corrupted, _ = CORRUPTIONS.build(cfg.model.corruption)(images, SampleGenerator.from_seed(0, 2))
        assert corrupted.shape == images.shape and not torch.equal(corrupted, images)
    else:
        grid = tuple(size // p for p in method.encoder.patch_size)
        counts = method.strategy.counts(method.strategy.cells(grid)[0] * method.strategy.cells(grid)[1])
        assert counts.masked > 0 and counts == COUNTS.get(Path(leaf).stem, counts)
    hooks = {hook.type: HOOKS.build(hook) for hook in cfg.custom_hooks}
    assert {"SeedHook", "FiniteLossHook", "ReconstructionHook", "RecordHook"} <= set(hooks)
    reads_bank = isinstance(method.strategy, Measured) and method.strategy.source == "bank"
    assert reads_bank == ("MapBankHook" in hooks)
    if "MapBankHook" in hooks:
        num_images = cfg.train_dataloader.dataset.get("num_images") or 1_281_167
        assert hooks["MapBankHook"].schedule.epochs(cfg.train_cfg.max_epochs, num_images)
        warmup = method.strategy.warmup
        assert warmup.unit == method.strategy.unit and warmup.throw_ratio == 0
        if cfg.model.type == "MAE":
            assert warmup.counts(196) == (49, 147, 0)


@pytest.mark.parametrize("leaf", LEAVES)
def test_its_text_in_a_checkpoint_is_read_back(leaf):
    cfg = load(leaf)
    assert read_values(cfg.pretty_text) == cfg.to_dict()


def test_published_recipes():
    assert set(COUNTS) <= {Path(leaf).stem for leaf in LEAVES}
    small = load("pretrain/mae_famt_vit-small_800e_in1k.py")
    assert (small.model.decoder.embed_dim, small.model.decoder.depth, small.model.decoder.num_heads) == (128, 8, 16)
    assert small.optim_wrapper.optimizer.lr == 1.5e-4 and small.auto_scale_lr.base_batch_size == 256
    assert (small.custom_hooks[-1].begin, small.custom_hooks[-1].interval) == (40, 40)
    official = load("pretrain/mae_amt_vit-base_400e_in1k.py").custom_hooks[-1]
    assert (official.begin, official.interval) == (41, 40)  # its code counts epochs from 0 and trains the 40th first
    base = load("pretrain/mae_famt_vit-base_200e_in1k.py")
    assert base.model.decoder.embed_dim == 512 and not base.model.norm_pix_loss
    assert (base.custom_hooks[-1].begin, base.custom_hooks[-1].interval) == (40, 20)
    assert load("pretrain/mae_semantic_vit-base_800e_in1k.py").model.norm_pix_loss
    cross = load("pretrain/mae_cross_vit-base_800e_in1k.py")
    assert (cross.model.decoder.embed_dim, cross.model.decoder.depth, cross.model.decoder.num_heads) == (512, 12, 16)
    assert cross.model.norm_pix_loss and cross.optim_wrapper.optimizer.lr == pytest.approx(0.5e-4)


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if re.search("mapet_|beit_", leaf)])
def test_files_of_tokenizers_are_those_that_their_configs_write(leaf):
    cfg = load(leaf)
    tokenizer = cfg.model.tokenizer
    assert TOKENIZERS.get(tokenizer.type) is not None
    path = Path(tokenizer.get("codebook") or tokenizer.get("path") or tokenizer.checkpoint)
    if path.parts[0] == "work_dirs":
        fitted = load(f"tokenizer/{path.parts[1]}.py")
        assert path.name == ("ids" if tokenizer.type == "StoredTokens" else "codebook.pth")
        if tokenizer.type == "StoredTokens":
            shown = cfg.train_dataloader.dataset.transform
            # Ids are those of the image as it is.
            same = {key: value for key, value in shown.to_dict().items() if key != "color_jitter"}
            assert {**fitted.view, "size": shown.size} == same and shown.size == 224
            assert fitted.get("kmeans", {}).get("num_codes", 8192) == cfg.model.num_codes
    else:
        assert path.parts[0] == "weights"


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if re.search("(mapet|beit)_.*_in1k", leaf)])
def test_published_recipe_of_mapet(leaf):
    cfg = load(leaf)
    encoder, optimizer = cfg.model.encoder, cfg.optim_wrapper.optimizer
    assert (encoder.layer_scale, encoder.drop_path_rate, cfg.model.num_codes) == (0.1, 0.1, 8192)
    assert (optimizer.lr, optimizer.betas, optimizer.weight_decay) == (1.5e-3, (0.9, 0.999), 0.05)
    assert cfg.auto_scale_lr.base_batch_size == 2048 and cfg.optim_wrapper.clip_grad.max_norm == 3
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end) == (10, 10, cfg.train_cfg.max_epochs)
    assert 1.5e-3 * warmup.start_factor == pytest.approx(1e-6) and 1.5e-3 * cosine.eta_min_ratio == pytest.approx(1e-5)


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if re.search("/mfm_.*300e_in1k", leaf)])
def test_published_recipe_of_mfm(leaf):
    cfg = load(leaf)
    assert cfg.optim_wrapper.optimizer.lr == 3e-4 and cfg.auto_scale_lr.base_batch_size == 512
    assert cfg.optim_wrapper.optimizer.betas == (0.9, 0.95) and cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 3 and cfg.train_cfg.max_epochs == 300
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end) == (20, 20, 300)
    assert 3e-4 * warmup.start_factor == pytest.approx(2.5e-7) and 3e-4 * cosine.eta_min_ratio == pytest.approx(2.5e-6)
    assert cfg.train_dataloader.dataset.transform.scale == (0.2, 1.0)
    if cfg.model.corruption.type == "FrequencyMasking":
        assert cfg.model.corruption.radius == 16
        assert cfg.model.corruption.low_pass_ratio == (0.3 if cfg.model.encoder.arch == "resnet50" else 0.5)
