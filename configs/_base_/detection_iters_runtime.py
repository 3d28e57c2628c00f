"""Detection with a schedule in iterations: checkpoints every 5000, logs by iteration."""
_base_ = "./detection_runtime.py"
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
