"""Small data sets in the forms that users have: coloured boxes on noise, written as YOLO, VOC, COCO, masks, folders."""
import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((250, 30, 30), (30, 250, 30))
CLASSES = ("red", "green")
SIZE = (128, 96)  # width, height


def scenes(number, seed=0):
    """Yield images with their objects, (label, x, y, width, height) in pixels: one of each class."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        pixels = rng.integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        objects = []
        for label, colour in enumerate(COLOURS):
            w, h = (int(side) for side in rng.integers(24, 48, 2))
            x, y = int(rng.integers(0, SIZE[0] - w)), int(rng.integers(0, SIZE[1] - h))
            pixels[y : y + h, x : x + w] = colour
            objects.append((label, x, y, w, h))
        yield Image.fromarray(pixels), objects


def save(image, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fractions(box, polygon=False):
    """Return the numbers of YOLO for a box in pixels."""
    (width, height), (x, y, w, h) = SIZE, box
    if polygon:
        corners = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
        return " ".join(f"{left / width} {top / height}" for left, top in corners)
    return f"{(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}"


def yolo(root, train=8, val=4, polygons=False):
    """images/{train,val}, labels/{train,val}, data.yaml; without val a single set."""
    for split, number, seed in (("train", train, 0), ("val", val, 1)):
        for k, (image, objects) in enumerate(scenes(number, seed)):
            save(image, root / f"images/{split}/{k}.png")
            write(root / f"labels/{split}/{k}.txt",
                  "".join(f"{label} {fractions(box, polygons)}\n" for label, *box in objects))
    lines = ["path: .", "train: images/train", *(["val: images/val"] if val else []), f"names: {list(CLASSES)}"]
    write(root / "data.yaml", "\n".join(lines))
    return root


def xml(name, boxes, size=SIZE):
    """Return an XML of VOC; boxes are (class, xmin, ymin, xmax, ymax, difficult)."""
    objects = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>" for label, x0, y0, x1, y1, difficult in boxes)
    return (f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
            f"<depth>3</depth></size>{objects}</annotation>")


def voc(root, number=10):
    """Annotations, JPEGImages, and no lists: a single set."""
    for k, (image, objects) in enumerate(scenes(number)):
        save(image, root / f"JPEGImages/{k}.png")
        boxes = [(CLASSES[label], x + 1, y + 1, x + w, y + h, 0) for label, x, y, w, h in objects]
        write(root / f"Annotations/{k}.xml", xml(f"{k}.png", boxes))
    return root


def coco(path, images, number=6, seed=0, masks=True):
    """One json, its images in a folder beside it."""
    content = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "red"}, {"id": 7, "name": "green"}]}
    for k, (image, objects) in enumerate(scenes(number, seed)):
        save(image, Path(images) / f"{k}.png")
        content["images"].append({"id": k, "file_name": f"{k}.png", "width": SIZE[0], "height": SIZE[1]})
        for label, x, y, w, h in objects:
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            content["annotations"].append({
                "id": len(content["annotations"]) + 1, "image_id": k, "category_id": (3, 7)[label],
                "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "segmentation": polygon if masks else []})
    write(path, json.dumps(content))
    return content


def masks(root, number=8, names=("background", "red", "green")):
    """images, masks of class numbers, classes.txt."""
    for k, (image, objects) in enumerate(scenes(number)):
        save(image, root / f"images/{k}.jpg")
        labels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
        for label, x, y, w, h in objects:
            labels[y : y + h, x : x + w] = label + 1
        save(Image.fromarray(labels), root / f"masks/{k}.png")
    write(root / "classes.txt", "\n".join(names))
    return root


def folders(root, number=10):
    """A folder of images for each class, a single set."""
    for k, (image, _) in enumerate(scenes(number)):
        save(image, root / f"{CLASSES[k % 2]}/{k}.png")
    return root
