"""A user's own data in one command: `tools/train.py CONFIG --data DIR_OR_JSON`, and the options beside it.

    recognise.py     what a path holds: COCO, VOC, YOLO, images and masks, class folders
    coco.py voc.py yolo.py masks.py class_sets.py   read one of them; everything a file says is checked
    found.py         what VOC and YOLO are read into; sizes of images, boxes inside of them
    names.py         names of classes
    splits.py        train and val of a single set, by a seed
    write_boxes.py write_masks.py   what mmdet and mmseg read
    convert.py       all of this in one function
    converted.py     `data.json`, which a conversion leaves behind
    configure.py     a config that trains on it; heads.py: the classes of its heads; boxes_only.py: without masks
    image_size.py length.py quick.py tiny.py   other sizes, other lengths, a look-see on a CPU
    options.py       the options of a tool, applied to its config

A config is changed when it was just read, before `--cfg-options`: what is written into the work dir is all that the run
follows from.
"""
