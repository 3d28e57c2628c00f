"""What every detection config shares."""
_base_ = ["mmdet::_base_/default_runtime.py", "./transfer_runtime.py"]
task = "detection"
