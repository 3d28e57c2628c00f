"""k-means of patch features: against a plain loop and scikit-learn."""
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from pretrain.masking.semantic import part_labels


def plain_kmeans(points: np.ndarray, num_parts: int, iterations: int) -> np.ndarray:
    """One image, float64, a loop for everything."""
    chosen = [int(np.argmax([np.sum((p - points.mean(0)) ** 2) for p in points]))]
    while len(chosen) < num_parts:
        chosen.append(int(np.argmax([min(np.sum((p - points[c]) ** 2) for c in chosen) for p in points])))
    centres = points[chosen].copy()

    def assign():
        return np.array([np.argmin([np.sum((p - c) ** 2) for c in centres]) for p in points])

    for _ in range(iterations):
        labels = assign()
        for k in range(num_parts):
            if (labels == k).any():
                centres[k] = points[labels == k].mean(0)
    return assign()


def test_labels_equal_a_plain_loop():
    features = torch.randn(3, 30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = part_labels(features, 4, iterations=6)
    expected = np.stack([plain_kmeans(image.numpy(), 4, 6) for image in features])
    assert labels.dtype == torch.int64
    assert np.array_equal(labels.numpy(), expected)


def test_separated_clusters_are_found_as_by_scikit_learn():
    state = np.random.RandomState(1)
    centres = 10 * np.eye(6)[:5]
    truth = state.randint(0, 5, (2, 80))
    points = centres[truth] + state.randn(2, 80, 6) * 0.5
    labels = part_labels(torch.from_numpy(points), 5)
    for image in range(2):
        theirs = KMeans(5, n_init=3, random_state=0).fit_predict(points[image])
        assert adjusted_rand_score(labels[image], truth[image]) == 1.0
        assert adjusted_rand_score(labels[image], theirs) == 1.0


def test_fewer_distinct_patches_than_parts():
    features = torch.tensor([[[0.0], [0.0], [1.0], [1.0]]])
    labels = part_labels(features, 8)[0]
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert part_labels(torch.zeros(1, 4, 2), 8).unique().numel() == 1


def test_autocast_does_not_reach_the_distances():
    # Neighbouring points of a far cluster, which bfloat16 (8 bits) takes for one.
    features = torch.tensor([[[100.0], [100.2], [104.0], [104.2]]])
    with torch.autocast("cpu", torch.bfloat16):
        labels = part_labels(features, 4)[0]
    assert labels.unique().numel() == 4
