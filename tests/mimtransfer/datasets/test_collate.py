"""Batches stacked as their pixels lie in memory hold what torch's default gives, and leave the preprocessor alike."""
from typing import NamedTuple

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from torch.utils.data import default_collate

from mimtransfer.datasets.collate import order_channels, stack_images


class Number(NamedTuple):
    """Stands for a record."""

    number: torch.Tensor


def samples(interleaved, count=5):
    rng = torch.Generator().manual_seed(0)
    for i in range(count):
        pixels = torch.randint(256, (6, 4, 3) if interleaved else (3, 6, 4), generator=rng, dtype=torch.uint8)
        yield dict(inputs=pixels.permute(2, 0, 1) if interleaved else pixels, record=Number(torch.tensor(i)), label=i)


@pytest.mark.parametrize("interleaved", [True, False])
def test_values_are_those_of_the_default(interleaved):
    batch, expected = stack_images(list(samples(interleaved))), default_collate(list(samples(interleaved)))
    assert batch.keys() == expected.keys()
    assert torch.equal(batch["inputs"], expected["inputs"]) and batch["inputs"].dtype == torch.uint8
    assert torch.equal(batch["record"].number, expected["record"].number) and type(batch["record"]) is Number
    assert torch.equal(batch["label"], expected["label"])
    order = torch.channels_last if interleaved else torch.contiguous_format
    assert batch["inputs"].is_contiguous(memory_format=order)  # so nothing was moved value by value


def test_a_preprocessor_gives_the_same_of_both():
    batches = [stack_images(list(samples(True))), default_collate(list(samples(True)))]
    kept = batches[0]["inputs"]
    preprocessor = ImgDataPreprocessor(mean=[120.0, 110.0, 100.0], std=[58.0, 57.0, 56.0])
    expected = preprocessor(default_collate(list(samples(True))), True)["inputs"]
    preprocessor.register_forward_pre_hook(order_channels)
    for batch in batches:
        got = preprocessor(batch, True)["inputs"]
        assert torch.equal(got, expected) and got.is_contiguous()
    assert batches[0]["inputs"] is kept  # the batch of the caller stays as it is


def test_lists_of_images_pass_as_they_are():
    data = dict(inputs=[torch.zeros(3, 4, 6), torch.zeros(3, 6, 4)])
    assert order_channels(ImgDataPreprocessor(), (data, True)) is None
