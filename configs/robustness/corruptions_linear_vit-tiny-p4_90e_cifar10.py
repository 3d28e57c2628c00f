"""Error of a linear probe of a ViT-Ti/4 on CIFAR-10 with the 15 corruptions of CIFAR-10-C, 5 severities.

Command   python tools/test.py CONFIG WORK_DIR/epoch_90.pth --work-dir WORK_DIR/corruptions
Data      data/cifar10/test as class folders
Time      76 passes over 10,000 images: not yet run
Score     not yet run
"""
_base_ = "../classification/linear_vit-tiny-p4_90e_cifar10.py"
protocol = "corruptions, linear probe, CIFAR-10, 90 epochs"
test_cfg = dict(type="CorruptionLoop")
