"""Pictures that runs have drawn, made small enough to stand in the report."""
import base64
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.results.record import is_number
from mimtransfer.stored import read_object

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
_DRAWN = "predictions.json"  # what PredictionPictureHook says of its images


class Picture(NamedTuple):
    """One picture: its kind, the data URI, width and height to be shown at."""

    kind: str
    uri: str
    width: int
    height: int


def pictures_of(folder: str | Path) -> list[Picture]:
    """Read the newest pictures of a run, those of the highest step of each name, but those of `drawn_predictions`.

    Args:
        folder: work dir, with `<time>/vis_data/vis_image/<name>_<step>.png` as mmengine writes them, and
            `attention/attention.png` of tools/analyze_attention.py.
    """
    files = _newest(folder)
    for _, path in drawn_predictions(folder):
        del files[_name_and_step(path)[0]]
    drawn = Path(folder, "attention", "attention.png")
    if drawn.is_file():
        files["attention"] = drawn
    predictions = [name for name in files if name not in KINDS][:_MAX_PREDICTIONS]
    names = [*[name for name in KINDS if name in files], *predictions]
    found = []
    for name in names:
        with Image.open(files[name]) as opened:
            found.append(embedded(name if name in KINDS else "prediction", opened.convert("RGB")))
    return found


def drawn_predictions(folder: str | Path) -> list[tuple[dict[str, Any], Path]]:
    """Return the newest images of ground truth (left half) and findings (right half), each with what is said of it.

    Args:
        folder: work dir, with `<time>/vis_data/predictions.json` of `PredictionPictureHook`.
    """
    found = []
    for path in _newest(folder).values():
        about = path.parent.parent / _DRAWN
        if about.is_file():
            fix = "draw again by tools/test.py, or delete it"
            entry = read_object(about, {"images": dict}, fix)["images"].get(path.stem)
            if entry is not None:
                _check(entry, about, fix)
                found.append((entry, path))
    return found


def _check(entry: Any, path: Path, fix: str) -> None:
    """Check what is said of an image."""
    whole = isinstance(entry, dict) and isinstance(entry.get("image"), str) and isinstance(entry.get("width"), int)
    if whole and "scores" in entry:
        numbers = [entry.get("score_threshold"), entry.get("num_best"), entry.get("found")]
        scores = entry["scores"]
        whole = isinstance(scores, list) and all(is_number(value) for value in [*numbers, *scores])
    if not whole:
        raise UserError(f"{path}: an image without a name, a width, or the rule and the scores of its boxes; {fix}")


def _newest(folder: str | Path) -> dict[str, Path]:
    """Return name -> file of the highest step, sorted by name."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(Path(folder).glob("*/vis_data/vis_image/*.png")):
        name, number = _name_and_step(path)
        if name not in newest or number >= newest[name][0]:
            newest[name] = (number, path)
    return {name: path for name, (_, path) in sorted(newest.items())}


def _name_and_step(path: Path) -> tuple[str, int]:
    step = _STEP.search(path.stem)
    return (path.stem[: step.start()], int(step[1])) if step else (path.stem, 0)


def embedded(kind: str, image: Image.Image) -> Picture:
    """Return an RGB image as a data URI, no larger than it is shown."""
    width, height = image.size
    if width > _MAX_WIDTH or height > _MAX_HEIGHT:
        image = image.copy()
        image.thumbnail((_MAX_WIDTH, _MAX_HEIGHT))
        scale = 1
    else:  # few pixels are shown as squares
        scale = max(1, min(320 // width, 4))
    data = io.BytesIO()
    form = "PNG" if width * height <= 200 * 400 else "JPEG"
    image.save(data, form, **({"quality": 85} if form == "JPEG" else {"optimize": True}))
    uri = f"data:image/{form.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
    return Picture(kind, uri, image.width * scale, image.height * scale)
