"""How any model of ours is trained, whatever the task: parameter groups, optimizers, losses, hooks, sharding.

    layer_decay.py  parameter groups: layer-wise lr decay, and which parameters are not decayed
    precision.py    what a GPU may round, and how its memory is laid out: TF32, autocast, DDP's buckets
    host_memory.py  how a training on the CPU keeps the memory of its tensors
    optimizers.py   LARS and LAMB for mmengine, bf16 autocast
    batch.py        images of a step, and what a checkpoint says of it
    rescale.py      a schedule in iterations, brought to the batch of a run
    resume.py       going on with another batch, length or lr
    schedule_hook.py  logs the schedule, signs checkpoints, calls resume.py
    hooks.py        re-seed, draw predictions
    drawn_detections.py  which detections are drawn, and the file that says so
    finite_loss.py  stop at NaN
    loading.py      workers and copies that fit the machine
    deferred_log.py logs values without waiting for the device
    checkpointing.py  when to save, also within an epoch, and what to keep
    whole_files.py    files that are whole or not there
    background.py     write a checkpoint while training goes on
    accumulation.py   gradients that wait for their step
    exact_resume.py   images, batches and randomness that a resumed run goes on with
    safeguards.py   what every run gets, whatever its config says
    compilation.py  torch.compile for the part of a model that is one graph
    fsdp.py         sharded training of a ViT-H
    host_sync_norm.py  SyncBN without a GPU
    losses/         losses that mmdet lacks
    recipes/        schedules, sizes and pipelines that config files call by name

Nothing is imported here.
"""
