"""Linear probes on cached features of a ViT-Ti/4, CIFAR-10 with 1 % of the labels.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      a class-balanced subset, drawn by test_cfg.memory_dataloader.dataset.seed
Time      the features of 10,000 test images
Score     top-1: not yet run
"""
_base_ = "./linear-sweep_vit-tiny-p4_cifar10.py"
protocol = "linear probe, CIFAR-10, cached features, 1 % of the labels"
test_cfg = dict(memory_dataloader=dict(dataset=dict(num_images=None, fraction=0.01)), batch_size=64)
