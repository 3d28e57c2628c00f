"""What every depth config shares."""
_base_ = ["mmseg::_base_/default_runtime.py", "./transfer_runtime.py"]
task = "depth"
