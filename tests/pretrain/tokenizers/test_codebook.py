"""Fitting a codebook: the clusters that are there, the same ones each time, and figures that are what they say."""
import numpy as np
import torch
from PIL import Image
from pytest import fixture, mark, raises

from mimtransfer.errors import UserError
from pretrain.data.images import ImageFolder
from pretrain.patches import patchify
from pretrain.tokenizers.codebook import Sample, code_statistics, draw_codes, fit_centroids, perplexity, sample_patches
from pretrain.tokenizers.features import PixelFeatures


@fixture
def dataset(tmp_path) -> ImageFolder:
    state = np.random.RandomState(0)
    for i in range(10):
        Image.fromarray(state.randint(0, 256, (8, 12, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    return ImageFolder(dict(type="ResizeWhole", size=(8, 12)), str(tmp_path))


def sample(dataset, num_patches=20, patches_per_image=4) -> Sample:
    return sample_patches(dataset, PixelFeatures(4), num_patches, patches_per_image, 3, 0, "cpu")


def test_sampled_patches_are_patches_of_evenly_spaced_images(dataset):
    found = sample(dataset)
    assert found.points.shape == (20, 48) and found.pixels.shape == (20, 4, 4, 3)
    assert torch.equal((found.points * 255).round().to(torch.uint8), found.pixels.flatten(1))
    rows = {}
    for index in range(10):
        patches = patchify(dataset[index]["inputs"][None].float() / 255, (4, 4))[0]
        rows |= {tuple(patch.tolist()): (index, i) for i, patch in enumerate(patches)}
    drawn = [rows[tuple(point.tolist())] for point in found.points]
    assert [index for index, _ in drawn] == sorted([0, 2, 4, 6, 8] * 4)
    assert len(set(drawn)) == 20 and {patch for _, patch in drawn} == set(range(6))
    assert torch.equal(sample(dataset).points, found.points)
    dataset.set_seed(1)
    assert not torch.equal(sample(dataset).points, found.points)


def test_all_patches_where_more_are_asked_for(dataset):
    assert sample(dataset, 1000, 100).points.shape == (60, 48)


def test_pixels_under_cells_that_they_do_not_fill_evenly(dataset):
    class Whole(PixelFeatures):  # one cell for 8 x 12 pixels
        def extract(self, images):
            return images.mean((2, 3))[:, None, None]

    found = sample_patches(dataset, Whole(4), 10, 1, 5, 0, "cpu")
    assert found.points.shape == (10, 3) and found.pixels.shape == (10, 8, 8, 3)


def test_features_are_kept_without_what_led_to_them(dataset):
    class Trained(PixelFeatures):
        def __init__(self):
            super().__init__(4)
            self.scale = torch.nn.Parameter(torch.ones(()))

        def extract(self, images):
            return super().extract(images) * self.scale

    # Else memory grows with each batch by all that a gradient would need.
    assert not sample_patches(dataset, Trained(), 10, 1, 5, 0, "cpu").points.requires_grad


def test_centroids_are_those_of_separate_clusters_and_follow_from_the_seed():
    torch.manual_seed(0)
    centres = torch.randn(12, 6) * 20
    points = (centres[:, None] + torch.randn(12, 200, 6) * 0.1).flatten(0, 1)
    found = fit_centroids(points, 12, epochs=5, batch_size=256, seed=0)
    assert found.dtype == torch.float32 and found.shape == (12, 6)
    matched = torch.cdist(centres, found)
    assert sorted(matched.argmin(1).tolist()) == list(range(12)) and matched.min(1).values.max() < 0.1
    assert torch.equal(fit_centroids(points, 12, epochs=5, batch_size=256, seed=0), found)
    assert not torch.equal(fit_centroids(points, 12, epochs=5, batch_size=256, seed=1), found)


def test_more_codes_than_patches():
    with raises(UserError, match="got 5 patches for num_codes=6"):
        fit_centroids(torch.rand(5, 2), 6, 1, 10, 0)


def test_statistics_of_codes_with_a_dead_one():
    centroids = torch.tensor([[0.0], [10.0], [100.0]])
    pixels = torch.tensor([10, 20, 90, 31], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 2, 2, 3)
    found = code_statistics(Sample(torch.tensor([[1.0], [2.0], [9.0], [-5.0]]), pixels), centroids, "cpu")
    assert found["counts"].tolist() == [3, 1, 0]
    assert found["patches"][:, 0, 0, 0].tolist() == [20, 90, 128] and found["patches"].shape == (3, 2, 2, 3)


@mark.parametrize(
    "counts, expected",
    [([5, 5, 5, 5], 4.0), ([7, 0, 0], 1.0), ([1, 1, 0, 0], 2.0), ([3, 1], 4 / 27**0.25)],  # 2^2 / 3^(3/4)
)
def test_perplexity(counts, expected):
    assert abs(perplexity(torch.tensor(counts)) - expected) < 1e-9


def test_picture_shows_the_most_used_code_first():
    patches = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 8, 8, 3) * 10
    picture = draw_codes(patches, torch.tensor([1, 9, 3, 0, 5]))
    assert picture.shape == (2 * 17 + 1, 3 * 17 + 1, 3) and picture.dtype == torch.uint8
    shown = [int(picture[17 * row + 8, 17 * column + 8, 0]) for row in range(2) for column in range(3)]
    assert shown[:5] == [10, 40, 20, 0, 30]
