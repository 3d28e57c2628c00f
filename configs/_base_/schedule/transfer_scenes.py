"""Transfer to the embedded scenes: 280 x 8 images, 5.6 passes over 400 scenes."""
_base_ = "./transfer_short.py"
from mimtransfer.training.recipes import iteration_cosine

train_cfg, param_scheduler = iteration_cosine(iters=280, warmup=20)
