"""What every classification by frozen features shares: nothing is trained, so there are no checkpoints."""
default_scope = "mimtransfer"
task = "classification"

default_hooks = dict(logger=dict(type="LoggerHook", interval=50))
custom_hooks = [dict(type="RecordHook")]
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")
)
randomness = dict(seed=0)
launcher = "none"
load_from = None
