"""How any model of ours is trained, whatever the task: parameter groups, optimizers, losses, hooks, sharding.

    layer_decay.py  parameter groups: layer-wise lr decay, and which parameters are not decayed
    optimizers.py   LARS and LAMB for mmengine, bf16 autocast
    batch.py        images of a step, and what a checkpoint says of it
    rescale.py      a schedule in iterations, brought to the batch of a run
    resume.py       going on with another batch, length or lr
    schedule_hook.py  logs the schedule, signs checkpoints, calls resume.py
    hooks.py        re-seed, draw predictions
    finite_loss.py  stop at NaN
    loading.py      workers and copies that fit the machine
    deferred_log.py logs values without waiting for the device
    checkpointing.py  save whole files, and keep two
    exact_resume.py   randomness that a resumed run repeats
    safeguards.py   what every run gets, whatever its config says
    fsdp.py         sharded training of a ViT-H
    losses/         losses that mmdet lacks
    recipes/        schedules, sizes and pipelines that config files call by name

Nothing is imported here.
"""
