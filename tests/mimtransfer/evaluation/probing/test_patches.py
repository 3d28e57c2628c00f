"""Segmentation by frozen patch tokens: labels of patches by hand, the regression against scikit-learn, a whole run."""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from own_tool import call_tool
from PIL import Image
from shipped_configs import ROOT
from sklearn.linear_model import LogisticRegression

from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.patches import IGNORED, FrozenMaps, PatchKNNLoop, fit_logistic, patch_labels


def test_a_patch_has_the_class_of_most_of_its_labelled_pixels():
    labels = torch.tensor([
        [1, 1, 2, 2, 255, 255],
        [1, 3, 2, 4, 255, 255],
        [0, 0, 255, 255, 9, 255],
        [5, 5, 255, 6, 255, 255],
    ])
    got = patch_labels(labels, (4, 6), (4, 6), (2, 3))
    assert got.tolist() == [[1, 2, IGNORED], [0, 6, 9]]  # of equal counts the lowest


def test_labels_follow_the_image_to_its_shown_size_and_padding_is_not_labelled():
    labels = torch.tensor([[1, 2], [3, 4]])
    got = patch_labels(labels, (4, 6), (8, 8), (4, 4))
    assert got.tolist() == [[1, 1, 2, 255], [3, 3, 4, 255], [255] * 4, [255] * 4]


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_regression_is_that_of_scikit_learn(strength):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    features = rng.normal(size=(400, 6)) + 0.7 * rng.normal(size=(4, 6))[labels]
    reference = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=10_000).fit(features, labels)
    weight, bias = fit_logistic(torch.from_numpy(features), torch.from_numpy(labels), 4, strength)
    # Only differences of biases are determined.
    np.testing.assert_allclose(weight, reference.coef_, atol=1e-4)
    np.testing.assert_allclose(bias - bias.mean(), reference.intercept_ - reference.intercept_.mean(), atol=1e-4)
    single = fit_logistic(torch.from_numpy(features).float(), torch.from_numpy(labels), 4, strength)
    agree = (features @ single[0].numpy().T + single[1].numpy()).argmax(1) == reference.predict(features)
    assert agree.mean() >= 0.999


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Images of dark and light patches of 8 pixels, labelled 0 and 1; one patch in each is not labelled."""
    root = tmp_path_factory.mktemp("stripes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            light = rng.integers(0, 2, (3, 4)).repeat(8, 0).repeat(8, 1)
            noise = rng.integers(0, 30, (24, 32, 3))
            Image.fromarray((light[..., None] * 180 + noise + 20).astype(np.uint8)).save(
                root / "images" / split / f"{number}.png")
            labels = light.astype(np.uint8)
            labels[:8, :8] = 255
            Image.fromarray(labels).save(root / "annotations" / split / f"{number}.png")
    return root


def small(stripes, kind, folder, **test_cfg):
    cfg = Config.fromfile(ROOT / f"patch_probing/{kind}_vit-tiny_camvid.py")
    classes = dict(classes=("dark", "light"), palette=[(0, 0, 0), (255, 255, 255)])
    for loader, split in ((cfg.test_dataloader, "test"), (cfg.test_cfg.memory_dataloader, "train")):
        loader.num_workers = 0
        loader.pop("persistent_workers", None)
        loader.dataset.update(data_root=str(stripes), metainfo=classes, img_suffix=".png",
                              data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}"))
    cfg.metainfo = classes
    cfg.model.backbone.update(img_size=24, patch_size=8, model_kwargs=dict(embed_dim=32, depth=1, num_heads=2))
    cfg.model.data_preprocessor.test_cfg.size_divisor = 8
    cfg.test_cfg.update(patches_per_image=None, **test_cfg)
    cfg.dump(folder / "config.py")
    return folder / "config.py"


@pytest.mark.parametrize(("kind", "options"), [("knn", dict(k=5)), ("logistic", {})])
def test_a_whole_run_finds_the_patches_by_random_weights(stripes, tmp_path, kind, options):
    """Dark and light patches differ so much that random features tell them apart; resizing blurs their borders."""
    assert call_tool("test", small(stripes, kind, tmp_path, **options), "--work-dir", tmp_path) == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["task"] == "segmentation" and record["protocol"]["name"].startswith("patch ")
    assert record["raw_metrics"]["mIoU"] > 85


def test_processes_draw_the_patches_that_one_draws(stripes, tmp_path, monkeypatch):
    """Their shares in turns, without other processes; each image has its own draw."""
    seen = []

    def keep(self, features, labels):
        seen.append(torch.cat([features, labels[:, None]], 1))
        raise UserError("seen")

    monkeypatch.setattr(PatchKNNLoop, "fit", keep)
    config = small(stripes, "knn", tmp_path)
    words = [config, "--work-dir", tmp_path, "--cfg-options", "test_cfg.patches_per_image=2"]
    for rank, processes in ((0, 1), (0, 2), (1, 2)):
        for module in ("mmengine.dataset.sampler", "mimtransfer.evaluation.probing.patches"):
            monkeypatch.setattr(f"{module}.get_dist_info", lambda found=(rank, processes): found)
        assert call_tool("test", *words) == 2
    alone, *shares = seen
    assert len(alone) == 12
    in_turns = torch.stack([share.view(3, 2, -1) for share in shares], 1)  # [3, 2 processes, 2 patches, D + 1]
    assert torch.equal(in_turns.flatten(0, 2), alone)


def test_more_neighbours_than_patches_are_refused_in_a_line(stripes, tmp_path, capsys):
    said = call_tool("test", small(stripes, "knn", tmp_path, k=1000), "--work-dir", tmp_path)
    assert "got k=1000 and 66 patches, expected 1 <= k <= that" in str(said) + capsys.readouterr().err


@pytest.mark.parametrize(("kind", "change", "expected"), [
    ("logistic", "strength=-1.0", "got strength=-1.0"),
    ("logistic", "max_iter=0", "and max_iter=0"),
    ("knn", "patches_per_image=-1", "got patches_per_image=-1, expected an integer above 0"),
    ("knn", "temperature=0.0", "got temperature=0.0, expected a number above 0"),
])
def test_settings_that_would_score_silently_are_refused(stripes, tmp_path, capsys, kind, change, expected):
    words = [small(stripes, kind, tmp_path), "--work-dir", tmp_path, "--cfg-options", f"test_cfg.{change}"]
    assert call_tool("test", *words) == 2
    assert expected in capsys.readouterr().err


def test_images_that_are_not_padded_to_whole_patches_are_refused(stripes, tmp_path, capsys):
    config = small(stripes, "logistic", tmp_path)
    words = ["--work-dir", tmp_path, "--cfg-options", "model.backbone.patch_size=14", "model.backbone.img_size=28"]
    assert call_tool("test", config, *words) == 2
    assert "images are padded to 24 x 32 pixels" in capsys.readouterr().err


def test_features_that_are_not_finite_are_refused(stripes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(FrozenMaps, "forward", lambda self, inputs, *args, **kwargs: inputs[:, :, ::8, ::8] / 0)
    assert call_tool("test", small(stripes, "knn", tmp_path, k=5), "--work-dir", tmp_path) == 2
    assert ".png are not finite" in capsys.readouterr().err


def test_the_image_whose_features_are_not_finite_is_named(stripes, tmp_path, capsys, monkeypatch):
    def forward(self, inputs, *args, **kwargs):
        maps = inputs[:, :, ::8, ::8].clone()
        maps[1] /= 0
        return maps

    monkeypatch.setattr(FrozenMaps, "forward", forward)
    words = ["--work-dir", tmp_path, "--cfg-options", "test_cfg.memory_dataloader.batch_size=3"]
    assert call_tool("test", small(stripes, "knn", tmp_path, k=5), *words) == 2
    assert "train/1.png are not finite" in capsys.readouterr().err


def test_views_of_an_image_are_refused(stripes, tmp_path, capsys):
    """The config of ADE20K inherits a `tta_pipeline` from mmseg."""
    config = small(stripes, "knn", tmp_path, k=5)
    words = ["--tta", "--cfg-options", "tta_model.type=SegTTAModel", "tta_pipeline=[]"]
    assert call_tool("test", config, "--work-dir", tmp_path, *words) == 2
    assert "--tta: predictions of frozen patch tokens are not merged" in capsys.readouterr().err
