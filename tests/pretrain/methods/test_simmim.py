"""SimMIM: what each role may and may not do, strategies, Swin, configs."""
import math
from pathlib import Path

import pytest
import torch
from deterministic import fill
from mmengine.config import Config
from torch import Tensor

from mimtransfer.backbones.swin import TimmSwin
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.methods.simmim import SimMIM
from pretrain.patches import patchify

ROOT = Path(__file__).resolve().parents[3]
MASKINGS.get("RandomMasking")  # imports them all
STRATEGIES = sorted(MASKINGS.module_dict)
VIT = dict(
    type="TimmViT",
    arch="vit_tiny_patch16_224",
    img_size=32,
    patch_size=8,
    layer_scale=0.1,
    model_kwargs=dict(embed_dim=48, depth=2, num_heads=3),
)
SWIN = dict(
    type="TimmSwin",
    arch="swin_tiny_patch4_window7_224",
    img_size=64,
    window_size=4,
    model_kwargs=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4)),
)


def build(encoder: dict = VIT, **kwargs) -> SimMIM:
    torch.manual_seed(0)
    model = MODELS.build(dict(dict(type="SimMIM", encoder=encoder), **kwargs))
    fill(model)
    return model


def random_layout(batch: int, num_patches: int, masked: int, thrown: int = 0) -> TokenLayout:
    order = torch.stack([torch.randperm(num_patches) for _ in range(batch)])
    return TokenLayout.from_order(order, masked, thrown)


def test_loss_is_the_mean_absolute_error_of_masked_pixels():
    model = build().double()
    images, layout = torch.randn(2, 3, 16, 40).double(), random_layout(2, 10, masked=4, thrown=3)
    encoder = model.encoder
    errors = []
    for b in range(2):
        # One image at a time, pixel rows cut out by hand, tokens in row-major order.
        kept = sorted(layout.visible[b].tolist() + layout.masked[b].tolist())
        masked = layout.masked[b].tolist()
        tokens = encoder.patch_embed.proj(images[b : b + 1]).flatten(2).transpose(1, 2)
        tokens[0, masked] = model.mask_token[0, 0]
        tokens = encoder.add_position(tokens, (2, 5))[:, kept]
        latent = encoder.encode(tokens)[0, 1:]
        for patch in masked:
            pred = model.head(latent[kept.index(patch)])
            row, column = patch // 5 * 8, patch % 5 * 8
            pixels = images[b, :, row : row + 8, column : column + 8].permute(1, 2, 0).flatten()
            errors += (pred - pixels).abs().tolist()
    # Computed in float64 the loss is compared as float32, which `loss` returns.
    assert model.loss(images, layout)["loss"].item() == pytest.approx(math.fsum(errors) / len(errors), rel=1e-6)


def loss_and_gradients(model: SimMIM, images: Tensor, layout: TokenLayout) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    loss = model.loss(images, layout)["loss"]
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def other_pixels(images: Tensor, patches: list[int], side: int) -> Tensor:
    columns = images.shape[-1] // side
    images = images.clone()
    for patch in patches:
        row, column = patch // columns * side, patch % columns * side
        images[:, :, row : row + side, column : column + side] = torch.randn(len(images), 3, side, side)
    return images


def test_thrown_patches_change_nothing_and_the_others_do():
    model, images = build(), torch.randn(1, 3, 32, 32)
    layout = random_layout(1, 16, masked=6, thrown=4)
    loss, gradients = loss_and_gradients(model, images, layout)
    for part, changes in zip(layout, (True, True, False)):
        other = other_pixels(images, part[0].tolist(), 8)
        other_loss, other_gradients = loss_and_gradients(model, other, layout)
        assert torch.equal(other_loss, loss) != changes
        assert all(torch.equal(a, b) for a, b in zip(gradients, other_gradients)) != changes


@pytest.mark.parametrize("encoder, size, side", [(VIT, 32, 8), (SWIN, 128, 32)], ids=["vit", "swin"])
def test_masked_pixels_do_not_reach_the_prediction_and_visible_ones_do(encoder, size, side):
    model, images = build(encoder), torch.randn(1, 3, size, size)
    layout = random_layout(1, 16, masked=10)
    pred = model.predict(images, layout)
    assert torch.equal(model.predict(other_pixels(images, layout.masked[0].tolist(), side), layout), pred)
    assert not torch.equal(model.predict(other_pixels(images, layout.visible[0, :1].tolist(), side), layout), pred)


@pytest.mark.parametrize("thrown", [0, 3])
def test_order_inside_a_role_has_no_meaning(thrown):
    model, images = build(), torch.randn(2, 3, 32, 32)
    layout = random_layout(2, 16, masked=7, thrown=thrown)
    shuffled = TokenLayout(*(part[:, torch.randperm(part.shape[1])] for part in layout))
    assert torch.allclose(model.loss(images, layout)["loss"], model.loss(images, shuffled)["loss"], rtol=1e-5)


@pytest.mark.parametrize("encoder, images, thrown", [
    (VIT, (2, 3, 16, 48), 2), (VIT, (2, 3, 16, 48), 0), (SWIN, (2, 3, 64, 192), 0)], ids=["vit-thrown", "vit", "swin"])
def test_reconstruct_puts_predictions_back_on_non_square_images(encoder, images, thrown):
    model, images = build(encoder), torch.randn(images)
    layout = random_layout(2, 12, masked=7, thrown=thrown)
    side = model.encoder.patch_size
    rows = patchify(model.reconstruct(images, layout).detach(), side)
    original, pred = patchify(images, side), model.predict(images, layout).detach()
    for b in range(2):
        assert torch.equal(rows[b, layout.visible[b]], original[b, layout.visible[b]])
        assert torch.equal(rows[b, layout.masked[b]], pred[b])
        assert (rows[b, layout.thrown[b]] == 0).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_trains_a_step(name):
    model = build(strategy=dict(type=name, mask_ratio=0.5, throw_ratio=0.2))
    images = torch.randn(2, 3, 32, 32)
    box = torch.tensor([[0.0, 0, 1, 1]] * 2)
    record = AugRecord(torch.tensor([0, 1]), torch.tensor([11, 12]), box, torch.tensor([False] * 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(images, record)["loss"]
    before.backward()
    assert model.mask_token.grad.abs().sum() > 0 and model.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    optimizer.step()
    assert model(images, record)["loss"] < before


@pytest.mark.parametrize("masked, thrown", [(1, 0), (1, 14), (5, 4), (15, 0), (11, 2)])
def test_any_ratio(masked, thrown):
    # 16 - thrown survivors are no square number but in the first case; AMT's release asks for one.
    model = build()
    layout = random_layout(2, 16, masked, thrown)
    assert model.predict(torch.randn(2, 3, 32, 32), layout).shape == (2, masked, 8 * 8 * 3)


def test_bf16_autocast_computes_the_loss_in_float32():
    for encoder, size in ((VIT, 32), (SWIN, 128)):
        model, images, layout = build(encoder), torch.randn(2, 3, size, size), random_layout(2, 16, masked=10)
        exact = model.loss(images, layout)["loss"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(images, layout)["loss"]
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=2e-2)


def test_default_strategy_masks_60_percent_of_32_pixel_cells():
    vit = MODELS.build(dict(type="SimMIM", encoder=dict(VIT, img_size=96, patch_size=16)))
    layout = vit.draw_layout(torch.randn(1, 3, 160, 160), None)  # 5 x 5 cells
    assert layout.masked.shape[1] == 15 * 4
    cells = layout.mask().view(5, 2, 5, 2)
    assert (cells == cells[:, :1, :, :1]).all()
    swin = MODELS.build(dict(type="SimMIM", encoder=SWIN))
    assert swin.draw_layout(torch.randn(1, 3, 160, 160), None).masked.shape[1] == 15


def test_a_swin_of_our_pretraining_loads_wholly(tmp_path):
    model = build(SWIN)
    meta = {"mimtransfer": {"method": "SimMIM", "grid": [2, 2]}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, tmp_path / "epoch_1.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "epoch_1.pth"))
    options = {key: value for key, value in SWIN.items() if key != "type"}
    # Another window and size, maps of all stages with norms of their own: as in transfer.
    backbone = TimmSwin(**dict(options, img_size=224, window_size=7), out_indices=(0, 1, 2, 3), out_norms=True,
                        init_cfg=init_cfg)
    backbone.init_weights()
    report = backbone.load_report
    assert report.expected_missing == [f"norm{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    assert set(report.unexpected) == {"mask_token", "head.weight", "head.bias"}
    # Windows of 4 and, on the smallest map, 2 tokens become windows of 7.
    assert len(report.resized) == 5 and all(name.endswith("relative_position_bias_table") for name in report.resized)
    assert set(report.resized.values()) == {"49x1 -> 169x1", "49x2 -> 169x2", "9x4 -> 169x4"}
    same = TimmSwin(**options, out_indices=(1,))
    report = load_backbone(same, tmp_path / "epoch_1.pth")
    assert len(report.matched) == len(same.state_dict()) and not report.resized
    assert torch.equal(same.layers[1].downsample.reduction.weight, model.encoder.layers[1].downsample.reduction.weight)


@pytest.mark.parametrize("size", [(33, 32), (32, 12)])
def test_images_that_patches_do_not_tile_are_refused(size):
    with pytest.raises(UserError, match=f"images of {size[0]} x {size[1]} pixels and patches of 8 x 8"):
        build()(torch.randn(1, 3, *size))


def test_mistakes_give_one_line():
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(UserError, match=r"SimMIM: nothing to predict, got mask_ratio=0\.1 and unit=2"):
        build(strategy=dict(type="RandomMasking", mask_ratio=0.1, unit=2))(images)
    thrower = build(SWIN, strategy=dict(type="RandomMasking", mask_ratio=0.5, throw_ratio=0.25))
    with pytest.raises(UserError, match="TimmSwin needs every patch, got 1 thrown ones; expected throw_ratio=0"):
        thrower(torch.randn(1, 3, 64, 64))


def test_debug_config_runs_with_and_without_throwing():
    cfg = Config.fromfile(ROOT / "configs" / "debug" / "simmim_vit-debug_2e_folder.py").model
    images = torch.randn(2, 3, 32, 32)
    for mask_ratio, throw_ratio, counts in ((0.75, 0.0, (4, 12, 0)), (0.5, 0.25, (4, 8, 4))):
        cfg.strategy.update(mask_ratio=mask_ratio, throw_ratio=throw_ratio)
        layout, restored = MODELS.build(cfg)(images, mode="predict")
        assert tuple(part.shape[1] for part in layout) == counts and restored.shape == images.shape


# Patches of each role that the published settings give: visible, masked, thrown.
CONFIGS = {
    "simmim_vit-base_800e_in1k": (19 * 4, 30 * 4, 0),
    "simmim_swin-base_800e_in1k-192": (14, 22, 0),
    "simmim_amt_vit-base_200e_in1k": (14 * 4, 22 * 4, 13 * 4),
    "simmim_famt_vit-base_200e_in1k": (14 * 4, 22 * 4, 13 * 4),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_build_and_mask_the_published_counts(name):
    cfg = Config.fromfile(ROOT / "configs" / "pretrain" / f"{name}.py")
    strategy = MASKINGS.build(cfg.model.strategy)
    size = cfg.train_dataloader.dataset.transform.size
    side = 32 if cfg.model.encoder.type == "TimmSwin" else 16
    images, generator = torch.zeros(1, 3, size, size), SampleGenerator.from_seed(0, 1)
    if getattr(strategy, "warmup", None) is not None:
        warm = strategy.warmup(images, None, (size // side,) * 2, generator)
        assert tuple(part.shape[1] for part in warm) == (27 * 4, 22 * 4, 0)
        strategy.warmup = None
    layout = strategy(images, None, (size // side,) * 2, generator)
    assert tuple(part.shape[1] for part in layout) == CONFIGS[name]
    small = dict(depths=(1, 1, 1, 1), embed_dim=16, num_heads=(1, 1, 1, 1)) if side == 32 else dict(depth=1)
    cfg.model.encoder.model_kwargs = small
    assert MODELS.build(cfg.model).loss(torch.zeros(1, 3, size, size), layout)["loss"] > 0
    last = max(scheduler["end"] for scheduler in cfg.param_scheduler)
    assert last == cfg.train_cfg.max_epochs == int(name.split("_")[-2].removesuffix("e"))
