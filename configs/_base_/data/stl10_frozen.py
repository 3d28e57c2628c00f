"""STL-10, 96 x 96, for frozen features, from the published binaries in `data/stl10/stl10_binary/`: the 5,000 labelled
images of the training split are the memory.
"""
_base_ = []
from mimtransfer.training.recipes import frozen_loaders

test_cfg, test_dataloader = frozen_loaders(
    train=dict(type="TorchvisionSTL10", root="data/stl10", train=True),
    test=dict(type="TorchvisionSTL10", root="data/stl10", train=False),
    image_size=96,
)
