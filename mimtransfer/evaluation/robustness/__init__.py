"""What is left of a classifier's accuracy on changed images (docs/robustness.md).

    changed_images.py      several versions of each image, a score for each
    common_corruptions/    noise, blur, weather ... of five severities (ImageNet-C); MFM's are in pretrain/corruptions
    corruption_loop.py     -> errors of a classifier, and the mean corruption error
    attacks.py             FGSM, PGD
"""
