"""Pictures of three classes that differ by colour, and the tools run on them in this process."""
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def call(folder: Path, tool: str, *args: object) -> None:
    """Run a tool in this process, in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [tool, *map(str, args)])
        patch.setattr(sys, "path", [str(TOOLS), *sys.path])
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")


def paint_classes(folder: Path, classes: Mapping[str, tuple[int, int, int]], tint: float, test: int = 6) -> None:
    """Write `images/train` and `images/test`: 32 x 32 pixels, 8 training pictures of each class.

    Args:
        classes: name -> mean colour.
        tint: deviation of a picture's colour from it.
        test: test pictures of each class.
    """
    generator = np.random.default_rng(0)
    for split, number in (("train", 8), ("test", test)):
        for name, colour in classes.items():
            (folder / "images" / split / name).mkdir(parents=True)
            for i in range(number):
                mean = generator.normal(colour, tint)
                pixels = np.clip(generator.normal(mean, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / name / f"{i}.png")
