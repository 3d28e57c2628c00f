"""What segmentation by frozen patch tokens shares: nothing is trained, so there are no checkpoints."""
_base_ = ["mmseg::_base_/default_runtime.py"]
task = "segmentation"
custom_imports = dict(imports=["mimtransfer"])
custom_hooks = [dict(type="mimtransfer.RecordHook"), dict(type="mimtransfer.PredictionPictureHook")]
default_hooks = dict(logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False))
randomness = dict(seed=0)
launcher = "none"
