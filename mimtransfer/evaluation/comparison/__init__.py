"""Scores of one or two checkpoints on the same images, with intervals over these images, from stored predictions.

    stored.py             what tools/test.py --save-predictions writes, and reading it
    pixel_areas.py        the metric that counts the pixels of each class in each image
    average_precision.py  COCO's AP of many multisets of images at once
    mean_iou.py           mIoU of many multisets of images at once
    bootstrap.py          drawing multisets; intervals and p values
    report.py             JSON, and lines that a person reads
"""
