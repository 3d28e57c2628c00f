"""Transfer to the embedded scenes: 320 x 8 images, six passes over 400 scenes."""
_base_ = "./transfer_short.py"
from mimtransfer.training.recipes import iteration_cosine

train_cfg, param_scheduler = iteration_cosine(iters=320, warmup=20)
