"""Pictures that runs have drawn, made small enough to stand in the report."""
import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image

# kind -> heading, what the parts of a picture are
KINDS = {
    "reconstruction": (
        "Reconstructions",
        "An image to a row: the image, weights where the strategy has any, masked patches in grey and thrown ones in "
        "red, what the method restores; of MFM the corrupted image and its spectrum. Where targets are normalised, "
        "each restored patch gets the mean and std of the true one.",
    ),
    "attention": (
        "Attention maps",
        "The image, then what share of the patches' attention each patch receives in the first, the middle and the "
        "last block of the encoder; yellow is most.",
    ),
    "prediction": ("Detections and segmentations", "Left the ground truth, right what the model finds."),
}
_MAX_WIDTH, _MAX_HEIGHT = 640, 480
_MAX_PREDICTIONS = 4
_STEP = re.compile(r"_(\d+)$")


class Picture(NamedTuple):
    """One picture: its kind, the data URI, width and height to be shown at."""

    kind: str
    uri: str
    width: int
    height: int


def pictures_of(folder: str | Path) -> list[Picture]:
    """Read the newest pictures of a run, those of the highest step of each name.

    Args:
        folder: work dir, with `<time>/vis_data/vis_image/<name>_<step>.png` as mmengine writes them, and
            `attention/attention.png` of tools/analyze_attention.py.
    """
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(Path(folder).glob("*/vis_data/vis_image/*.png")):
        step = _STEP.search(path.stem)
        name = path.stem[: step.start()] if step else path.stem
        number = int(step[1]) if step else 0
        if name not in newest or number >= newest[name][0]:
            newest[name] = (number, path)
    files = {name: path for name, (_, path) in sorted(newest.items())}
    drawn = Path(folder, "attention", "attention.png")
    if drawn.is_file():
        files["attention"] = drawn
    predictions = [name for name in files if name not in KINDS][:_MAX_PREDICTIONS]
    names = [*[name for name in KINDS if name in files], *predictions]
    return [_embedded(name if name in KINDS else "prediction", files[name]) for name in names]


def _embedded(kind: str, path: Path) -> Picture:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    if width > _MAX_WIDTH or height > _MAX_HEIGHT:
        image.thumbnail((_MAX_WIDTH, _MAX_HEIGHT))
        scale = 1
    else:  # few pixels are shown as squares
        scale = max(1, min(320 // width, 4))
    data = io.BytesIO()
    form = "PNG" if width * height <= 200 * 400 else "JPEG"
    image.save(data, form, **({"quality": 85} if form == "JPEG" else {"optimize": True}))
    uri = f"data:image/{form.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
    return Picture(kind, uri, image.width * scale, image.height * scale)
