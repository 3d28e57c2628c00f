"""Data sets of the project. `scenes*`: the embedded one, drawn on this machine; see docs/scenes.md.

    scenes.py           what there is: class names, palette, SceneStyle
    scenes_textures.py  coordinates -> texture (noise, bricks, wood ...)
    scenes_objects.py   coordinates -> object outline (handwritten digits, shapes)
    scenes_compose.py   (seed, split, index) -> who is where: masks, boxes, index map
    scenes_paint.py     composition -> pixels
    scenes_write.py     scenes -> folders, COCO json, meta.json

    classification.py   labelled images: class folders, subsets, transforms
    published.py        CIFAR, STL-10, Tiny ImageNet in their authors' layout
    epoch_sampler.py    (epoch, index) in the order of a run, and the seed of a sample

Nothing is imported here, so that a config or a tool pays only for what it names.
"""
