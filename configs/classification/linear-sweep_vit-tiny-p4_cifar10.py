"""Linear probes on cached features of a ViT-Ti/4, CIFAR-10: 7 learning rates x 3 weight decays in one pass.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      as k-NN, and the training of the probes
Score     top-1: not yet run
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/cifar10_classification.py",
    "../_base_/classification_runtime.py",
]
protocol = "linear probe, CIFAR-10, cached features of 10000"
test_cfg = dict(
    type="LinearSweepLoop",
    lrs=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),  # small data need high ones
    weight_decays=(0.0, 1e-4, 1e-2),
    optimizer=dict(type="LARS", momentum=0.9),
    epochs=90,
    warmup_epochs=10,
    batch_size=512,
)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
