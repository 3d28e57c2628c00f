"""A linear depth probe: the head and the metrics against float64, what counts as a label, a whole run on a folder."""
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import METRICS
from mmengine.structures import PixelData
from own_tool import call_tool
from PIL import Image
from shipped_configs import ROOT
from transfer_configs import build_all, load

import mimtransfer  # noqa: F401  before mmseg
from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.depth import LinearDepthHead
from mimtransfer.results.measurement import lower_is_better, standard_metrics, title_of


def head(**options):
    torch.manual_seed(0)
    made = LinearDepthHead([5, 3], max_depth=8.0, num_bins=16, **options)
    torch.nn.init.normal_(made.conv_depth.weight)
    torch.nn.init.normal_(made.conv_depth.bias)
    return made


def maps():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, channels, 3, 4, generator=generator) for channels in (5, 3)]


def sample(depth):
    return SimpleNamespace(gt_depth_map=PixelData(data=torch.as_tensor(depth, dtype=torch.float32)[None]))


def test_the_head_is_an_expectation_over_bins_of_upsampled_tokens():
    """In float64, in the order of the paper: tokens are upsampled, then comes the layer."""
    made = head()
    tokens = F.interpolate(torch.cat(maps(), 1).double(), scale_factor=4, mode="bilinear").numpy()
    weight = made.conv_depth.weight.detach().double().numpy()[:, :, 0, 0]
    outputs = np.einsum("kc,bchw->bkhw", weight, tokens)
    outputs += made.conv_depth.bias.detach().double().numpy()[:, None, None]
    shares = np.maximum(outputs, 0) + 0.1
    expected = np.einsum("bkhw,k->bhw", shares / shares.sum(1, keepdims=True), np.linspace(1e-3, 8.0, 16))
    got = made(maps())
    assert got.shape == (2, 1, 12, 16)
    np.testing.assert_allclose(got[:, 0].detach().numpy(), expected, rtol=1e-5)
    predicted = made.predict(maps(), [dict(img_shape=(20, 24), pad_shape=(24, 32))])
    torch.testing.assert_close(predicted, F.interpolate(got, (24, 32), mode="bilinear"))


def test_labels_that_are_absent_or_too_far_do_not_count():
    made = head()
    near, far = torch.full((2, 24, 32), 2.0), torch.full((2, 24, 32), 2.0)
    near[:, :9], far[:, :9] = 0, 8.5
    losses = [made.loss(maps(), [sample(one) for one in labels])["loss_depth"] for labels in (near, far)]
    assert losses[0] == losses[1]
    rest = F.interpolate(made(maps()), (24, 32), mode="bilinear")[:, 0, 9:].flatten(1).double()
    gap = rest.log() - np.log(2.0)
    assert losses[0].item() == pytest.approx((gap.square().mean(1) - 0.5 * gap.mean(1) ** 2).sqrt().mean().item())


def test_an_image_without_labels_leaves_the_gradient_finite():
    made, whole = head(), torch.full((24, 32), 2.0)
    alone = made.loss([one[:1] for one in maps()], [sample(whole)])["loss_depth"]
    both = made.loss(maps(), [sample(whole), sample(whole * 0)])["loss_depth"]
    torch.testing.assert_close(both, alone)
    both.backward()
    assert made.conv_depth.weight.grad.isfinite().all()
    none = made.loss(maps(), [sample(whole * 0)] * 2)["loss_depth"]
    none.backward()
    assert none == 0 and made.conv_depth.weight.grad.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_have_no_finite_loss(value):
    """SiLogLoss takes NaN for absent: the loss would be 0, and no hook would stop the run."""
    loss = head().loss([one * value for one in maps()], [sample(torch.full((24, 32), 2.0))] * 2)["loss_depth"]
    assert not loss.isfinite()


@pytest.mark.parametrize("options", [dict(min_depth=0.0), dict(min_depth=9.0), dict(num_bins=1)])
def test_bins_that_make_no_range_are_refused(options):
    with pytest.raises(UserError, match="expected 0 < min_depth < max_depth and two bins or more"):
        LinearDepthHead([5], **{"max_depth": 8.0, **options})


def test_metrics_are_those_of_float64():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.0, 12.0, (3, 480, 640))
    truth[rng.random(truth.shape) < 0.2] = 0
    found = np.clip(truth * rng.lognormal(0, 0.25, truth.shape), 0.05, 10)
    cfg = Config.fromfile(ROOT / "depth/linear_vit-base_nyu.py")
    metric = METRICS.build(dict(cfg.test_evaluator, type="mmseg.DepthMetric"))
    for one, other in zip(truth, found):
        both = {f"{kind}_depth_map": {"data": torch.from_numpy(values).float()[None]}
                for kind, values in (("gt", one), ("pred", other))}
        metric.process({}, [both])
    got = standard_metrics(metric.evaluate(len(truth)))
    each = []
    for one, other in zip(truth, found):
        one, other = one[45:471, 41:601], other[45:471, 41:601]
        counts = (one > 1e-3) & (one < 10)
        one, other = one[counts], other[counts]
        each.append((np.mean(np.abs(other - one) / one), np.sqrt(np.mean((other - one) ** 2)),
                     np.mean(np.maximum(one / other, other / one) < 1.25)))
    names = ("depth_abs_rel", "depth_rmse", "depth_delta1")
    assert set(got) == set(names)
    assert [got[name]["value"] for name in names] == pytest.approx(100 * np.mean(each, 0), rel=1e-5)
    assert [lower_is_better(name) for name in names] == [True, True, False]
    assert [title_of(name) for name in names] == ["AbsRel (%)", "RMSE (cm)", "delta1 (%)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of grey patches of 16 pixels, the darker the farther; maps in millimetres, those tested in metres."""
    root = tmp_path_factory.mktemp("depth")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for kind in ("images", "depth"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            depth = rng.uniform(1, 10, (4, 5)).repeat(16, 0).repeat(16, 1).astype(np.float32)
            grey = 255 - 24 * depth[..., None] + rng.uniform(-4, 4, (*depth.shape, 3))
            Image.fromarray(grey.astype(np.uint8)).save(root / "images" / split / f"{number}.png")
            depth[:7, :9] = 0
            path = root / "depth" / split / f"{number}"
            if split == "train":
                cv2.imwrite(f"{path}.png", (1000 * depth).round().astype(np.uint16))
            else:
                np.save(path, depth)
    return root


def test_a_whole_run_learns_depth_and_gets_columns_of_its_own(folder, tmp_path, capsys):
    cfg = Config.fromfile(ROOT / "depth/linear_vit-demo_folder.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers = 0
        loader.pop("persistent_workers", None)
        loader.dataset.data_root = str(folder)
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.pipeline[3].crop_size = (48, 64)
    cfg.model.data_preprocessor.size = (48, 64)
    cfg.model.backbone.update(img_size=64, out_indices=(0, 1), frozen_stages=2,
                              model_kwargs=dict(embed_dim=32, depth=2, num_heads=2))
    cfg.model.neck.channels = cfg.model.decode_head.in_channels = [32, 32]
    for part in (cfg.model.decode_head, cfg.val_evaluator, cfg.test_evaluator):
        part["max_depth" if "in_channels" in part else "max_depth_eval"] = 12.0
    cfg.train_cfg.update(max_iters=40, val_interval=20)
    for schedule, (begin, end) in zip(cfg.param_scheduler, ((0, 4), (4, 40))):
        schedule.update(begin=begin, end=end)
    cfg.param_scheduler[1].T_max = 36
    cfg.default_hooks.checkpoint.interval = 40
    cfg.dump(tmp_path / "config.py")
    assert call_tool("train", tmp_path / "config.py", "--work-dir", tmp_path / "run") == 0
    record = json.loads((tmp_path / "run/result.json").read_text())
    assert record["task"] == "depth" and record["data_fingerprint"]["train"]
    first, last = (record["curves"]["depth_delta1"][k][1] for k in (0, -1))
    assert last > first and record["metrics"]["depth_delta1"]["value"] == pytest.approx(last, abs=1e-3)
    truth = np.concatenate([np.load(path).ravel() for path in sorted((folder / "depth/test").iterdir())])
    truth = truth[truth > 0]
    constant = min(np.mean(np.abs(metres - truth) / truth) for metres in np.linspace(1, 10, 91))
    assert record["metrics"]["depth_abs_rel"]["value"] < 0.7 * 100 * constant
    assert call_tool("table", tmp_path / "run") == 0
    heading = capsys.readouterr().out.split("| pretraining")[1].split("\n")[0]
    assert all(name in heading for name in ("RMSE (cm)", "AbsRel (%)", "delta1 (%)"))


def test_the_shipped_probe_trains_norms_and_one_layer():
    cfg = load("depth/linear_vit-base_nyu.py")
    assert cfg.task == "depth" and cfg.param_scheduler[-1]["end"] == cfg.train_cfg.max_iters == 38400
    model, _ = build_all(cfg)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    layers = {f"decode_head.conv_depth.{kind}" for kind in ("weight", "bias")}
    norms = {f"{norm}.{kind}" for norm in ("backbone.norm", *(f"neck.norms.{k}" for k in range(4)))
             for kind in ("weight", "bias")}
    assert trained == layers | norms
    assert model.decode_head.conv_depth.weight.shape == (256, 4 * 768, 1, 1)


def test_a_plan_of_the_probe_takes_its_step(capsys):
    words = ["--gpus", "1", "--gpu", "h100", "--global-batch", "16"]
    assert call_tool("plan", ROOT / "depth/linear_vit-demo_folder.py", *words) == 0
    said = capsys.readouterr().out
    assert "depth, images of 96 x 128" in said and "16 images" in said


def loaded(path, **options):
    from mimtransfer.datasets.depth import LoadDepth

    return LoadDepth(**options)(dict(depth_map_path=str(path), img_shape=(2, 2), seg_fields=[]))


def test_millimetres_and_metres_are_read_alike(tmp_path):
    depth = np.array([[0.5, 0], [2.25, 60]], np.float32)
    np.save(tmp_path / "m.npy", np.where(depth > 0, depth, np.nan))
    np.save(tmp_path / "negative.npy", np.where(depth > 0, depth, -1))
    cv2.imwrite(str(tmp_path / "mm.png"), (1000 * depth).astype(np.uint16))
    cv2.imwrite(str(tmp_path / "kitti.png"), (256 * depth).astype(np.uint16))
    for name, options in (("m.npy", {}), ("negative.npy", {}), ("mm.png", {}), ("kitti.png", dict(scale=1 / 256))):
        results = loaded(tmp_path / name, **options)
        np.testing.assert_allclose(results["gt_depth_map"], depth, rtol=1e-6)
        assert results["gt_depth_map"].dtype == np.float32 and results["seg_fields"] == ["gt_depth_map"]


@pytest.mark.parametrize(("name", "pixels", "expected"), [
    ("a.png", np.ones((2, 2), np.uint8), "has 8 bits"),
    ("a.png", np.ones((2, 3), np.uint16), "is 3 x 2, its image 2 x 2"),
    ("a.npy", np.zeros((2, 2), np.float32), "has no depth above 0"),
    ("a.npy", np.ones((2, 2, 3), np.float32), "cannot be read (3 channels, expected 1"),
    ("a.npy", None, "cannot be read (No such file"),
])
def test_maps_that_are_no_depth_are_refused(tmp_path, name, pixels, expected):
    if pixels is not None:
        np.save(tmp_path / name, pixels) if name.endswith("npy") else cv2.imwrite(str(tmp_path / name), pixels)
    with pytest.raises(UserError) as error:
        loaded(tmp_path / name)
    assert expected in str(error.value)


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), float("nan")])
def test_a_scale_of_nothing_is_refused(tmp_path, scale):
    with pytest.raises(UserError, match="expected metres in one unit"):
        loaded(tmp_path, scale=scale)


def test_images_that_are_left_out_are_said(tmp_path, capsys):
    from mimtransfer.datasets.depth import DepthFolder

    for name in ("images/1.jpg", "images/.2.jpg", "depth/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    data = DepthFolder(data_root=str(tmp_path), data_prefix=dict(img_path="images", depth_map_path="depth"))
    captured = capsys.readouterr()
    assert len(data) == 1
    assert "images': left out .2.jpg (hidden), loop (a loop of links)" in captured.out + captured.err


def test_images_and_maps_are_paired_by_name(tmp_path):
    from mimtransfer.datasets.depth import DepthFolder

    def folders(images, depth, **prefix):
        for kind, names in (("images", images), ("depth", depth)):
            for name in names:
                path = tmp_path / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return DepthFolder(data_root=str(tmp_path),
                           data_prefix={"img_path": "images", "depth_map_path": "depth", **prefix})

    with pytest.raises(UserError, match="cannot list"):
        folders([], [])
    with pytest.raises(UserError, match="no images"):
        folders(["notes.txt"], ["z.png"])
    data = folders(["b/1.jpg", "a/1.JPG"], ["a/1.png", "b/1.npy"])
    paths = [(info["img_path"], info["depth_map_path"]) for info in (data.get_data_info(k) for k in range(len(data)))]
    assert [tuple(path[len(str(tmp_path)) + 1 :] for path in pair) for pair in paths] == [
        ("images/a/1.JPG", "depth/a/1.png"), ("images/b/1.jpg", "depth/b/1.npy")]
    with pytest.raises(UserError, match=r"no depth map in .*depth' for b/2;"):
        folders(["b/2.jpg"], [])
    with pytest.raises(UserError, match=r"differ in their ending alone: b/2;"):
        folders([], ["b/2.png", "b/2.npy"])
    with pytest.raises(UserError, match="no 'depth_map_path', the folder of the depth maps"):
        folders([], [], depth_map_path="")
