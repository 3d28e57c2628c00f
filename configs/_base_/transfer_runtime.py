"""What every detection and segmentation config shares; mmdet's or mmseg's own default_runtime.py comes beside it."""
custom_imports = dict(imports=["mimtransfer"])
custom_hooks = [dict(type="mimtransfer.RecordHook"), dict(type="mimtransfer.PredictionPictureHook")]
randomness = dict(seed=0)
# BN in the configs, converted when there are several GPUs: the same config runs on one CPU process.
sync_bn = "torch"
