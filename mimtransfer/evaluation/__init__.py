"""What a pretrained encoder is worth in classification: fine-tuning, linear probes, k-NN, robustness.

    pooling.py     images -> one feature vector each
    classifier.py  features -> a linear head: fine-tuning, and linear probing on augmented images
    mixing.py      what happens to a training batch: erasing, mixup, CutMix, label smoothing
    accuracy.py    scores of the classes -> top-1 and top-5 accuracy
    probing/       frozen features: k-NN, linear probes
    robustness/    corruptions, attacks
    comparison/    two checkpoints on the same images, by a bootstrap
    tta.py         test-time augmentation, of detectors and segmentors too
"""
from mimtransfer.evaluation.accuracy import TopAccuracy
from mimtransfer.evaluation.classifier import Classifier
from mimtransfer.evaluation.probing.depth import LinearDepthHead
from mimtransfer.evaluation.probing.features import FrozenFeatures
from mimtransfer.evaluation.probing.knn import KNNLoop, knn_votes
from mimtransfer.evaluation.probing.linear_sweep import LinearSweepLoop
from mimtransfer.evaluation.probing.patches import FrozenMaps, PatchKNNLoop, PatchLogisticLoop
from mimtransfer.evaluation.robustness.attacks import AttackLoop
from mimtransfer.evaluation.robustness.corruption_loop import CorruptionLoop

__all__ = ["AttackLoop", "Classifier", "CorruptionLoop", "FrozenFeatures", "FrozenMaps", "KNNLoop", "LinearDepthHead",
           "LinearSweepLoop", "PatchKNNLoop", "PatchLogisticLoop", "TopAccuracy", "knn_votes"]
