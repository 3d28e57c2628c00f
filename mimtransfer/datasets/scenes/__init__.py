"""The embedded data set, drawn on this machine; see docs/scenes.md.

    style.py     what there is: class names, palette, SceneStyle
    textures.py  coordinates -> texture (noise, bricks, wood ...)
    objects.py   coordinates -> object outline (handwritten digits, shapes)
    compose.py   (seed, split, index) -> who is where: masks, boxes, index map
    paint.py     composition -> pixels
    write.py     scenes -> folders, COCO json, meta.json

Nothing is imported here.
"""
