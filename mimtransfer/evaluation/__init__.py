"""What a pretrained encoder is worth in classification: fine-tuning, linear probes, k-NN.

    pooling.py      images -> one feature vector each
    classifier.py   features -> a linear head: fine-tuning, and linear probing on augmented images
    mixing.py       what happens to a training batch: erasing, mixup, CutMix, label smoothing
    features.py     a backbone that nobody trains
    feature_loop.py its features of a labelled memory, read once in a Runner
    knn.py          -> votes of the nearest neighbours
    linear_heads.py -> linear probes of many settings at once
    linear_sweep.py the loop that chooses one of them
    accuracy.py     scores of the classes -> top-1 and top-5 accuracy
"""
from mimtransfer.evaluation.accuracy import TopAccuracy
from mimtransfer.evaluation.classifier import Classifier
from mimtransfer.evaluation.features import FrozenFeatures
from mimtransfer.evaluation.knn import KNNLoop, knn_votes
from mimtransfer.evaluation.linear_sweep import LinearSweepLoop

__all__ = ["Classifier", "FrozenFeatures", "KNNLoop", "LinearSweepLoop", "TopAccuracy", "knn_votes"]
