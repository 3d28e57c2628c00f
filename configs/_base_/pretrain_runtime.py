"""What every pretraining run shares: logs, pictures, checkpoints, seed."""
_base_ = "./trained_runtime.py"
custom_hooks = [
    dict(type="SeedHook"),
    dict(type="FiniteLossHook", interval=50),
    dict(type="ReconstructionHook", interval=10),
    dict(type="RecordHook"),
]
