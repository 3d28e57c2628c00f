"""Patches and back."""
import torch

from pretrain.patches import patch_statistics, patchify, unpatchify


def test_patchify_is_the_inverse_of_unpatchify():
    images = torch.arange(2 * 3 * 6 * 8.0).view(2, 3, 6, 8)
    rows = patchify(images, (3, 2))
    assert rows.shape == (2, 8, 18)
    assert torch.equal(unpatchify(rows, (3, 2), (2, 4)), images)


def test_order_is_row_major_and_channels_come_last():
    images = torch.arange(3 * 4 * 4.0).view(1, 3, 4, 4)
    rows = patchify(images, (2, 2))
    # Second patch: rows 0-1, columns 2-3; its first pixel in all channels, then the next pixel.
    assert rows[0, 1].view(2, 2, 3)[0, 0].tolist() == [2.0, 18.0, 34.0]
    assert rows[0, 1].view(2, 2, 3)[1, 0].tolist() == [6.0, 22.0, 38.0]


def test_statistics_are_those_of_mae():
    rows = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    mean, deviation = patch_statistics(rows)
    assert mean.item() == 3.0
    assert torch.allclose(deviation, torch.tensor((14 / 3 + 1e-6) ** 0.5))  # unbiased
