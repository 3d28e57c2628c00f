"""How any model of ours is trained, whatever the task: parameter groups, optimizers, losses, hooks, sharding.

    layer_decay.py  parameter groups: layer-wise lr decay, and which parameters are not decayed
    optimizers.py   LARS and LAMB for mmengine, bf16 autocast
    hooks.py        stop at NaN, re-seed, draw predictions
    fsdp.py         sharded training of a ViT-H
    losses/         losses that mmdet lacks
    recipes/        schedules, sizes and pipelines that config files call by name

Nothing is imported here.
"""
