"""What every classification that is trained shares, fine-tuning and linear probing: logs, checkpoints, seed."""
_base_ = "./trained_runtime.py"
task = "classification"
custom_hooks = [
    dict(type="SeedHook"),
    dict(type="FiniteLossHook", interval=50),
    dict(type="SyncBuffersHook"),  # each process has batch statistics of its own: averaged before they are evaluated
    dict(type="RecordHook"),
]
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type="TopAccuracy", topk=(1, 5))
test_evaluator = val_evaluator
