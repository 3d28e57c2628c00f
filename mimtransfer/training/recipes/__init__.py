"""What config files call by name: schedules, sizes of models, pipelines; each returns plain dictionaries.

    schedules.py    from epochs or iterations to `train_cfg` and `param_scheduler`
    model_parts.py  what another size of ViT, crop or window changes in `model`
    pipelines.py    what an image size decides of the data

Configs are read before anything heavy is imported: nothing here imports torch or mmengine.
"""
from mimtransfer.training.recipes.model_parts import sliding_window, upernet_size, vitdet_backbone, vitdet_size
from mimtransfer.training.recipes.pipelines import (
    box_pipelines,
    frozen_loaders,
    lsj_pipelines,
    small_image_loaders,
    timm_augment,
    whole_image,
)
from mimtransfer.training.recipes.schedules import (
    iteration_cosine,
    iteration_linear,
    linear_sweep,
    mae_detection_schedule,
    vitdet_schedule,
    warmup_cosine,
    weight_decay_cosine,
)

__all__ = [
    "box_pipelines", "frozen_loaders", "iteration_cosine", "iteration_linear", "linear_sweep", "lsj_pipelines",
    "mae_detection_schedule", "sliding_window", "small_image_loaders", "timm_augment", "upernet_size",
    "vitdet_backbone", "vitdet_schedule", "vitdet_size", "warmup_cosine", "weight_decay_cosine", "whole_image",
]
