"""Scenes as images of other channels and depth than RGB: made data to try out `in_chans`."""
from pathlib import Path

import numpy as np
from PIL import Image

from mimtransfer.checkpoints.channels import check_in_chans
from mimtransfer.datasets.bands import DTYPES
from mimtransfer.datasets.scenes.style import SPLITS
from mimtransfer.errors import UserError


def write_bands(folder: str | Path, in_chans: int, dtype: str) -> int:
    """Write each scene of a folder once more, as `bands/SPLIT/NAME.npy`, [H, W, C]; return how many there are.

    One band is the brightness. The first three of more are red, green and blue, each further one a fixed mixture of
    them, as a sensor of another part of the spectrum might see it. Of uint16 the 12 lower bits are used, the lowest
    four of them noise; float32 lies in [0, 1].

    Raises:
        UserError: a number of channels or a dtype that images do not have.
    """
    check_in_chans("--bands", in_chans)
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype}: expected {', '.join(DTYPES)}")
    mixture = np.full((1, 3), 1 / 3) if in_chans == 1 else np.eye(3)[:in_chans]
    rng = np.random.default_rng(0)
    mixture = np.concatenate([mixture, rng.dirichlet(np.ones(3), max(0, in_chans - 3))])
    written = 0
    for split in SPLITS:
        target = Path(folder, "bands", split)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(folder, split).glob("*.jpg")):
            bands = np.asarray(Image.open(path), np.float64) @ mixture.T  # [H, W, C] in 0 to 255
            if dtype == "uint16":
                stored = bands.round().astype(np.uint16) * 16 + rng.integers(0, 16, bands.shape, dtype=np.uint16)
            else:
                stored = bands.round().astype(np.uint8) if dtype == "uint8" else (bands / 255).astype(np.float32)
            np.save(target / f"{path.stem}.npy", stored)
            written += 1
    return written
