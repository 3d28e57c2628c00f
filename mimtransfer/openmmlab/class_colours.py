"""One colour for each class in the images of mmdet: it draws every mask in a random shade of its class."""
import sys


def install() -> None:
    """Let mmdet's visualizer, where it is loaded, draw masks in the colour of their class."""
    if (module := sys.modules.get("mmdet.visualization.local_visualizer")) is not None:
        module.jitter_color = tuple  # type: ignore[attr-defined]
