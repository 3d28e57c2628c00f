"""What a pretrained encoder is worth without detection or segmentation: k-NN on its frozen features.

    features.py   images -> one feature vector each
    knn.py        features -> votes of the nearest neighbours; the loop that does it in a Runner
    accuracy.py   scores of the classes -> top-1 and top-5 accuracy
"""
from mimtransfer.evaluation.accuracy import TopAccuracy
from mimtransfer.evaluation.features import FrozenFeatures
from mimtransfer.evaluation.knn import KNNLoop, knn_votes

__all__ = ["FrozenFeatures", "KNNLoop", "TopAccuracy", "knn_votes"]
