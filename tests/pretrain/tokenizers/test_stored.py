"""Stored ids: those of the image that is asked for, in the view they were stored for, or an error."""
import json

import numpy as np
import torch
from PIL import Image
from pytest import fixture, raises
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS
from pretrain.aug_record import AugRecord
from pretrain.data.images import ImageFolder
from pretrain.tokenizers.base import Tokenizer
from pretrain.tokenizers.codebook import batches
from pretrain.tokenizers.stored import StoredTokens, listing_digest, store_ids

VIEW = dict(type="CenterCrop", size=(4, 8), ratio=1.0)
BROKEN = 4


class RedTokenizer(Tokenizer):
    """The red of each pixel."""

    def __init__(self):
        super().__init__(256, dict(sha256="0" * 64, source="red"))

    def encode(self, images, record):
        return (images[:, 0] * 255).round().long()


@fixture
def dataset(tmp_path) -> ImageFolder:
    state = np.random.RandomState(0)
    for i in range(7):
        size = (4 + i, 12) if i % 2 else (4, 8)  # the middle of each is another box
        Image.fromarray(state.randint(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / f"{BROKEN}.png").write_bytes(b"\x89PNG broken")
    return ImageFolder(VIEW, str(tmp_path))


@fixture
def stored(dataset, tmp_path) -> StoredTokens:
    tokenizer = RedTokenizer()
    counts = store_ids(tokenizer, dataset, VIEW, batches(DataLoader(dataset, 3), "cpu", ""), tmp_path / "ids")
    assert counts.sum() == 6 * 4 * 8
    return TOKENIZERS.build(dict(type="StoredTokens", path=str(tmp_path / "ids")))


def batch(dataset, *indices):
    return next(iter(DataLoader(dataset, len(indices), sampler=indices))).values()


def test_ids_are_those_of_the_image_and_view(dataset, stored):
    images, record = batch(dataset, 5, 0, 6, 1)
    ids = stored(images / 255, record)
    assert ids.shape == (4, 4, 8) and ids.dtype == torch.int64 and torch.equal(ids, images[:, 0].long())
    images, record = batch(dataset, BROKEN)  # the next one stands in for it
    assert record.index.tolist() == [BROKEN + 1] and torch.equal(stored(images / 255, record), images[:, 0].long())


def test_files_are_mapped_and_named_by_their_tokenizer(dataset, stored, tmp_path):
    assert isinstance(stored._ids, np.memmap) and stored._ids.dtype == np.uint16
    assert stored.num_codes == 256 and stored.identity["source"] == RedTokenizer().identity
    about = json.loads((tmp_path / "ids" / "ids.json").read_text())
    assert about["sha256"] == stored.identity["sha256"] and about["grid"] == [4, 8] and about["num_images"] == 7


def test_size_of_the_view_does_not_matter(dataset, stored):
    larger = ImageFolder({**VIEW, "size": (20, 40)}, dataset.root)
    (small, _), (large, record) = batch(dataset, 1, 3), batch(larger, 1, 3)
    assert torch.equal(stored(large / 255, record), small[:, 0].long())


def test_another_crop_or_flip_is_refused(dataset, stored):
    images, record = batch(dataset, 1, 2)
    flipped = record._replace(flip=torch.tensor([False, True]))
    moved = record._replace(box=record.box + torch.tensor([0, 0.1, 0, 0]))
    for other in (flipped, moved):
        with raises(UserError, match=r"another crop or flip.*CenterCrop"):
            stored(images / 255, other)
    with raises(UserError, match="without a record"):
        stored(images / 255)
    with raises(UserError, match=r"got image 7, .* has ids of 7"):
        stored(images[:1] / 255, AugRecord(torch.tensor([7]), record.seed[:1], record.box[:1], record.flip[:1]))


def test_other_images_are_refused(dataset, stored, tmp_path):
    stored.check_images(ImageFolder(VIEW, dataset.root))
    with raises(UserError, match="holds ids of 7 images, the training set has 6"):
        stored.check_images(ImageFolder(VIEW, dataset.root, num_images=6))
    moved = dataset.root + "_moved"
    (tmp_path.parent / f"{tmp_path.name}_moved").symlink_to(tmp_path)
    assert listing_digest(ImageFolder(VIEW, moved)) == listing_digest(dataset)
    lines = [f"{i}.png" for i in (1, 0, 2, 3, 4, 5, 6)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    with raises(UserError, match="other ones or in another order"):
        stored.check_images(ImageFolder(VIEW, dataset.root, list_file=str(tmp_path / "list.txt")))


def test_ids_that_are_not_there_or_not_whole(dataset, stored, tmp_path):
    (tmp_path / "ids" / "ids.json").unlink()
    with raises(UserError, match=r"ids\.json', which does not exist; .*--ids"):
        TOKENIZERS.build(dict(type="StoredTokens", path=str(tmp_path / "ids")))
