"""What every segmentation config shares."""
_base_ = ["mmseg::_base_/default_runtime.py", "./transfer_runtime.py"]
task = "segmentation"
