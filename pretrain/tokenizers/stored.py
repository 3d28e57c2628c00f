"""Ids that were computed once, for one view of each image, by `tools/fit_tokenizer.py CONFIG --ids`.

Rows are found by the number of the image in the training set. The folder says which images those are, and a run on
others is refused before it begins; the released MaPeT code orders its files by their time of modification instead.
"""
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.files import reserve_space, sha256_file, write_atomically
from mimtransfer.registry import TOKENIZERS
from mimtransfer.stored import open_array, read_object
from pretrain.aug_record import AugRecord, StoredRecord, send
from pretrain.data.images import PretrainImages
from pretrain.tokenizers.base import Tokenizer, check_file

# As fractions of the image: less than a pixel of 500, more than the rounding of one box for two sizes of the view.
_BOX_TOLERANCE = 2e-3


@TOKENIZERS.register_module()
class StoredTokens(Tokenizer):
    """Look ids up instead of computing them; for pretraining without random crops and flips (MaPeT as published).

    Args:
        path: folder with `ids.npy` ([n, h, w] uint16, mapped into memory), `boxes.npy` ([n, 4] float32) and
            `ids.json`, which is written last.

    Raises:
        UserError: there is no complete set of ids; from a batch, the view of an image is not the stored one.
    """

    def __init__(self, path: str):
        about = check_file(os.path.join(path, "ids.json"), "StoredTokens",
                           "store them: python tools/fit_tokenizer.py configs/tokenizer/... --ids")
        fix = "store the ids again: python tools/fit_tokenizer.py configs/tokenizer/... --ids"
        self.about = read_object(about, dict(num_codes=int, sha256=str, tokenizer=dict, view=dict, images=str), fix)
        if not 0 < self.about["num_codes"] <= 1 << 16:
            raise UserError(f"{about}: num_codes is {self.about['num_codes']}, expected 1 to 65536; {fix}")
        super().__init__(
            self.about["num_codes"], dict(sha256=self.about["sha256"], source=self.about["tokenizer"])
        )
        self.path = path
        self._ids = open_array(os.path.join(path, "ids.npy"), "token ids", np.uint16, (None, None, None), fix)
        boxes = os.path.join(path, "boxes.npy")
        self._boxes = open_array(boxes, "boxes of token ids", np.float32, (len(self._ids), 4), fix)

    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        if record is None:
            raise UserError("StoredTokens: got images without a record of which they are; ids are stored for the "
                            "training set only, take the tokenizer that computed them")
        if isinstance(record, StoredRecord) and record.ids is not None:
            return record.ids
        found = self.look_up(AugRecord(*(part.cpu() for part in record[:4])))
        return send(found, images.device)

    def look_up(self, record: AugRecord) -> Tensor:
        """Return the ids of a batch, [B, h, w] int64, of a record on the CPU; see the class for what is refused."""
        rows = record.index.numpy()
        if rows.max() >= len(self._ids):
            raise UserError(f"StoredTokens: got image {rows.max()}, {self.path!r} has ids of {len(self._ids)}; store "
                            "the ids of this training set")
        is_same = np.allclose(record.box.numpy(), self._boxes[rows], rtol=0, atol=_BOX_TOLERANCE)
        if record.flip.numpy().any() or not is_same:
            raise UserError(f"StoredTokens: an image is shown by another crop or flip than in {self.path!r}; expected "
                            f"transform={self.about['view']} (of any size), or a tokenizer that computes ids")
        ids = self._ids[rows].astype(np.int64)
        if ids.max() >= self.num_codes:
            raise UserError(f"StoredTokens: {self.path!r} holds the id {ids.max()}, expected less than num_codes="
                            f"{self.num_codes}; store the ids again")
        return torch.from_numpy(ids)

    def check_images(self, dataset: PretrainImages) -> None:
        """Refuse a training set that the ids were not stored for.

        Raises:
            UserError: other images, or the same in another order.
        """
        if self.about["images"] != listing_digest(dataset):
            raise UserError(f"StoredTokens: {self.path!r} holds ids of {len(self._ids)} images, the training set has "
                            f"{len(dataset)} and they are other ones or in another order; store its ids by "
                            "tools/fit_tokenizer.py CONFIG --ids")


@torch.inference_mode()
def store_ids(
    tokenizer: Tokenizer, dataset: PretrainImages, view: dict, loader: Iterable[tuple[Tensor, AugRecord]],
    folder: str | Path,
) -> np.ndarray:
    """Write the ids of all images of a training set.

    Args:
        tokenizer: on any device.
        dataset: its transform is `view`, which shows an image the same way each time.
        loader: yields (images [B, 3, H, W] float32 in [0, 1], record) on the tokenizer's device, in the order of the
            data set.
        folder: made when it is not there; a set of ids in it is replaced.

    Returns:
        [K] int64, how often each code occurs.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ids.json").unlink(missing_ok=True)
    boxes, counts, ids, done = np.zeros((len(dataset), 4), np.float32), np.zeros(tokenizer.num_codes, np.int64), None, 0
    for images, record in loader:
        found = tokenizer(images, record).cpu().numpy()
        if ids is None:
            shape = (len(dataset), *found.shape[1:])
            ids = np.lib.format.open_memmap(folder / "ids.npy", mode="w+", dtype=np.uint16, shape=shape)
            reserve_space(folder / "ids.npy")
        rows = record.index.cpu().numpy()
        shown = rows == np.arange(done, done + len(rows))  # the next readable image stands in for an unreadable one
        ids[rows[shown]], boxes[rows[shown]] = found[shown], record.box.cpu().numpy()[shown]
        counts += np.bincount(found[shown].ravel(), minlength=len(counts))
        done += len(rows)
    assert ids is not None, "a data set is never empty"
    ids.flush()
    np.save(folder / "boxes.npy", boxes)
    about = dict(num_codes=tokenizer.num_codes, sha256=sha256_file(folder / "ids.npy"), tokenizer=tokenizer.identity,
                 view=view, num_images=len(dataset), images=listing_digest(dataset), grid=list(ids.shape[1:]))
    write_atomically(folder / "ids.json", json.dumps(about, indent=1) + "\n")
    return counts


def listing_digest(dataset: PretrainImages) -> str:
    """Return the sha256 of the images' names below the root, in their order; 1.28 M names take seconds."""
    root = getattr(dataset, "root", "")
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(os.fsencode(dataset.name(index).replace(root, "", 1)) + b"\0")
    return digest.hexdigest()
