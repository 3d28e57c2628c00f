"""Data sets of the project.

    classification.py  labelled images: class folders, subsets, transforms
    class_folders.py   which files of class folders count
    tree.py            which files lie below a folder, and what is left out
    unreadable.py      files that are no readable image
    reading.py         images and labels for mmdet and mmseg, with the names of files that break
    class_names.py     which classes a data set has, of those of a classifier
    label_order.py     which labelled images come first: stratified shares, k shots
    label_subset.py    LabelSubset: that part of a data set of mmdet or mmseg
    depth.py           images with a depth map each: a folder of both, and how a map is read
    published.py       CIFAR, STL-10, Tiny ImageNet in their authors' layout
    sampler.py         (epoch, index) in the order of a run, and the seed of a sample
    configured.py      the data sets that a config names
    palette.py         the colours of their classes
    coco_ids.py        image and category ids of a COCO json
    sources/           folders, tar shards, zip, parquet, Hugging Face data sets (docs/data.md)
    scenes/            the embedded one, drawn on this machine (docs/scenes.md)

Nothing is imported here, so that a config or a tool pays only for what it names.
"""
