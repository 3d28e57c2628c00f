"""Script: cut the things out of the embedded scenes, as class folders `data/scene-crops/{train,val}/CLASS/*.png`.

    python tests/helpers/scene_crops.py
"""
import json
from pathlib import Path

from PIL import Image

SCENES, CROPS = Path("data/scenes"), Path("data/scene-crops")


def main() -> None:
    """Write every box of at least 8 pixels a side, and then the list of how many there are."""
    counts = {}
    for split in ("train", "val"):
        coco = json.loads((SCENES / f"annotations/instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in coco["categories"]}
        files = {image["id"]: image["file_name"] for image in coco["images"]}
        counts[split] = 0
        for box in coco["annotations"]:
            x, y, width, height = box["bbox"]
            if min(width, height) < 8:
                continue
            path = CROPS / split / names[box["category_id"]] / f"{box['id']:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(SCENES / split / files[box["image_id"]]) as image:
                image.crop((int(x), int(y), round(x + width), round(y + height))).save(path)
            counts[split] += 1
    (CROPS / "meta.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
