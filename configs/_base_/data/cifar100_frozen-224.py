"""The same images as cifar100_frozen.py, shown whole at 224 x 224 pixels, for encoders pretrained at that size."""
_base_ = "./cifar100_frozen.py"
from mimtransfer.training.recipes import whole_image

test_cfg = dict(memory_dataloader=dict(num_workers=8, dataset=dict(transform=whole_image(224))))
test_dataloader = dict(num_workers=8, dataset=dict(transform=whole_image(224)))
