"""The same as knn_vit-tiny-p4_cifar10.py on the published binaries of CIFAR-10, without pictures as files.

Command   python tools/test.py configs/classification/knn_vit-tiny-p4_cifar10-binaries.py --pretrained work_dirs/CKPT
Data      data/cifar10/cifar-10-batches-py (docs/classification.md)
Score     k-NN top-1: not yet run; no time known
"""
_base_ = "./knn_vit-tiny-p4_cifar10.py"
protocol = "k-NN, CIFAR-10 binaries, memory of 10000"
test_cfg = dict(
    memory_dataloader=dict(
        dataset=dict(_delete_=True, type="TorchvisionCIFAR", root="data/cifar10", train=True, num_images=10000)
    )
)
test_dataloader = dict(dataset=dict(_delete_=True, type="TorchvisionCIFAR", root="data/cifar10", train=False))
