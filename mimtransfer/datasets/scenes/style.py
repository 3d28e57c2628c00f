"""Embedded data set: class names, palettes and the style of the drawn scenes.

Things (COCO categories, ids from 1) come first and stuff (textured surfaces) after them; index 0 of an index map is
ADE20K's "other", to be ignored. The category id of a thing is also its index: boxes, masks and index maps agree.
"""
import dataclasses

from mimtransfer.errors import UserError, near_matches

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHAPES = ("disc", "square", "triangle", "star", "ring", "cross")
STUFF = ("bricks", "clouds", "grass", "pebbles", "planks")

# Five things: few enough to be told apart after a minute of fine-tuning on a CPU, without the pairs that low resolution
# confuses (zero and ring, one and seven, three and eight, five and six).
DEFAULT_THINGS = ("two", "four", "disc", "triangle", "cross")

THING_SETS = {
    "default": DEFAULT_THINGS,
    "digits": DIGITS,
    "shapes": SHAPES,
    "all": DIGITS + SHAPES,
}

SPLITS = ("train", "val", "unlabelled")
LABELLED = ("train", "val")

PALETTE = {
    "zero": (220, 20, 60), "one": (119, 11, 32), "two": (0, 0, 142), "three": (0, 160, 230), "four": (106, 0, 228),
    "five": (0, 60, 100), "six": (0, 200, 100), "seven": (0, 0, 70), "eight": (100, 170, 30), "nine": (250, 170, 30),
    "disc": (255, 60, 40), "square": (175, 116, 175), "triangle": (250, 220, 0), "star": (255, 120, 220),
    "ring": (72, 0, 118), "cross": (0, 255, 210),
    "bricks": (150, 75, 60), "clouds": (170, 180, 200), "grass": (90, 120, 60), "pebbles": (125, 125, 115),
    "planks": (165, 135, 95),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SceneStyle:
    """All that decides how scenes look, except seed and image size. Lengths are fractions of the shorter image side."""

    things: tuple[str, ...] = DEFAULT_THINGS
    stuff: tuple[str, ...] = STUFF
    num_objects: tuple[int, int] = (1, 3)  # tried; fewer are left where the scene is full
    object_size: tuple[float, float] = (0.28, 0.6)  # full height of an object
    aspect: float = 1.25  # width and height differ by at most this factor
    shear: float = 0.2
    digit_rotation: float = 25.0  # degrees to either side; more would confuse six and nine
    shape_rotation: float = 180.0
    max_overlap: float = 0.35  # an object may lie under others with at most this share of its area
    min_visible_fraction: float = 0.5  # of the object's area, after all occlusion
    min_visible_area: float = 0.006  # of the square of the shorter side; smaller objects are not drawn at all
    num_regions: tuple[int, int] = (1, 3)  # surfaces in the background
    num_clutter: tuple[int, int] = (0, 1)  # scribbles, bars and stains behind the objects, part of the surface below
    num_occluders: tuple[int, int] = (0, 1)  # twigs in front of the objects, index 0
    contrast: tuple[float, float] = (0.5, 0.9)  # RGB distance of an object to what lies behind, channels 0..1
    surface_contrast: tuple[float, float] = (0.5, 0.9)  # RGB distance between the two colours of a surface
    illumination: float = 0.2  # largest loss or gain of light across the image
    blur: tuple[float, float] = (0.0, 0.3)  # sigma in pixels of a 96-pixel image
    noise: tuple[float, float] = (0.0, 0.012)  # sigma, channels in 0..1

    def __post_init__(self) -> None:
        _check_names("thing", self.things, DIGITS + SHAPES)
        _check_names("stuff", self.stuff, STUFF)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("things", "stuff"):
                continue
            pair = value if isinstance(value, tuple) else (0, value)
            if len(pair) != 2 or not all(isinstance(v, (int, float)) for v in pair) or not 0 <= pair[0] <= pair[1]:
                expected = "two numbers, 0 <= low <= high" if isinstance(field.default, tuple) else "a number >= 0"
                raise UserError(f"scene style {field.name}: got {value!r}, expected {expected}")
            if isinstance(value, tuple) != isinstance(field.default, tuple):
                raise UserError(f"scene style {field.name}: got {value!r}, expected a value like {field.default!r}")
        counts = ("num_objects", "num_regions", "num_clutter", "num_occluders")
        for name in counts:
            if not all(isinstance(v, int) for v in getattr(self, name)):
                raise UserError(f"scene style {name}: got {getattr(self, name)!r}, expected integers")
        for name in ("num_objects", "num_regions"):
            if getattr(self, name)[0] < 1:
                raise UserError(f"scene style {name}: got {getattr(self, name)!r}, expected at least 1")
        if not 0.05 <= self.object_size[0] <= self.object_size[1] <= 1:
            raise UserError(f"scene style object_size: got {self.object_size!r}, expected 0.05 <= low <= high <= 1")
        if self.aspect < 1:
            raise UserError(f"scene style aspect: got {self.aspect!r}, expected a factor >= 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the index maps: name i has index i + 1."""
        return self.things + self.stuff


def _check_names(kind: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not names:
        raise UserError(f"scene style: got no {kind} class, expected at least one of {', '.join(known)}")
    for name in names:
        if name not in known:
            hint = near_matches(name, known) or f"known: {', '.join(known)}"
            raise UserError(f"scene style: unknown {kind} class {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise UserError(f"scene style: a {kind} class is named twice in {', '.join(names)}")


def thing_metainfo(style: SceneStyle | None = None) -> dict:
    """Return `metainfo` for mmdet's CocoDataset: `classes` and `palette` of the things."""
    return _metainfo((style or SceneStyle()).things)


def segmentation_metainfo(style: SceneStyle | None = None) -> dict:
    """Return `metainfo` for mmseg's BaseSegDataset with `reduce_zero_label=True`: things, then stuff."""
    return _metainfo((style or SceneStyle()).classes)


def _metainfo(names: tuple[str, ...]) -> dict:
    return {"classes": names, "palette": [PALETTE[name] for name in names]}
