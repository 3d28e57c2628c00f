"""What every classification that is trained shares, fine-tuning and linear probing: logs, checkpoints, seed."""
default_scope = "mimtransfer"
task = "classification"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
custom_hooks = [
    dict(type="SeedHook"),
    dict(type="FiniteLossHook", interval=50),
    dict(type="SyncBuffersHook"),  # each process has batch statistics of its own: averaged before they are evaluated
    dict(type="RecordHook"),
]
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_processor = dict(window_size=50)
log_level = "INFO"
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")
)
randomness = dict(seed=0)
launcher = "none"
load_from = None
resume = False
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type="TopAccuracy", topk=(1, 5))
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
