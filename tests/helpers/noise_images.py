"""Image files of noise, the same at each call."""
import numpy as np
from PIL import Image


def make_images(folder, count=32, size=(40, 40)):
    """Write PNG files, 00.png and on; `size` is height and width. Return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = np.random.RandomState(0)
    for i in range(count):
        Image.fromarray(state.randint(0, 256, (*size, 3)).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder
