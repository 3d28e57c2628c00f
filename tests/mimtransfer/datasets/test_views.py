"""Several views of one decoded image: every image as often as without, with the same seeds, decoded once."""
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mimtransfer.datasets.sampler import EpochSampler
from mimtransfer.errors import UserError
from pretrain.data import ImageFolder, decoding


def items(total, views, epochs, **options):
    sampler = EpochSampler(range(total), seed=3, views_per_image=views, **options)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


@pytest.mark.parametrize("shuffle", [True, False])
def test_views_follow_each_other_and_cover_what_epochs_without_them_show(shuffle):
    found = items(12, 3, range(6), shuffle=shuffle)
    for epoch in found:
        assert len(epoch) == 12 and all(index == epoch[3 * (i // 3)][1] for i, (_, index) in enumerate(epoch))
    plain = items(12, 1, range(6), shuffle=shuffle)
    for part in (slice(0, 3), slice(3, 6)):
        # The same images with the same seeds.
        assert Counter(chain.from_iterable(found[part])) == Counter(chain.from_iterable(plain[part]))
    assert (found[0] != found[3]) and found == items(12, 3, range(6), shuffle=shuffle)
    assert ([i for _, i in found[0]] != [i for _, i in found[3]]) == shuffle


def test_a_number_that_views_do_not_divide():
    found = items(10, 4, range(4))
    assert [len(epoch) for epoch in found] == [12] * 4  # 3 images, shown 4 times
    assert {index for epoch in found for _, index in epoch} == set(range(10))


def test_ranks_together_show_what_one_process_shows(monkeypatch):
    (whole,) = items(24, 2, [5])
    parts = []
    for rank in range(3):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 3))
        parts += items(24, 2, [5])
    assert [len(part) for part in parts] == [8] * 3
    for step in range(2):  # of 12 images in all
        together = [item for part in parts for item in part[4 * step : 4 * step + 4]]
        assert Counter(together) == Counter(whole[12 * step : 12 * step + 12])


def test_resumed_within_an_epoch():
    sampler = EpochSampler(range(12), seed=3, views_per_image=3)
    whole = list(sampler)
    sampler.skip = 6
    assert list(sampler) == whole[6:] and list(sampler) == whole


@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_is_opened_once_for_its_views(decoder, workers, tmp_path, monkeypatch):
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    images = ImageFolder(dict(type="RandomResizedCropFlip", size=16), str(tmp_path), decoder=decoder)
    opened = torch.zeros(8, dtype=torch.int64).share_memory_()
    monkeypatch.setattr(images, "open", lambda index: opened[index].add_(1) and ImageFolder.open(images, index))
    sampler = EpochSampler(images, seed=1, views_per_image=4)
    batches = list(DataLoader(images, 4, sampler=sampler, num_workers=workers))
    assert sorted(opened.tolist()) == [0] * 6 + [1] * 2
    alone = ImageFolder(dict(type="RandomResizedCropFlip", size=16), str(tmp_path), decoder=decoder)
    alone.set_seed(1)
    expected = [alone[item] for item in sampler]
    assert torch.equal(torch.cat([batch["inputs"] for batch in batches]), torch.stack([e["inputs"] for e in expected]))
    assert len({int(seed) for batch in batches for seed in batch["record"].seed}) == 8
    assert decoding.choose_decoder(decoder) is images.decode


@pytest.mark.parametrize("views", [0, -1, 1.5, True, "2"])
def test_wrong_numbers(views):
    with pytest.raises(UserError, match="views_per_image="):
        EpochSampler(range(4), views_per_image=views)
