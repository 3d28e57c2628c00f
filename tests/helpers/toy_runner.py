"""A training of a second: a linear model on 12 numbers, with the safeguards of tools/train.py and tools/pretrain.py."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mimtransfer.cli import launch
from mimtransfer.registry import DATASETS, MODELS
from mimtransfer.training.safeguards import set_safeguards


@DATASETS.register_module(force=True)
class ToyNumbers(Dataset):
    """Twelve numbers with names."""

    metainfo: dict = {}

    def __len__(self):
        return 12

    def __getitem__(self, item):
        """Augment by noise: by (epoch, index) as our data sets do, or from the generator of the process as mmdet's."""
        epoch, index = item if isinstance(item, tuple) else (None, item)
        noise = np.random.rand() if epoch is None else epoch / 10
        number = torch.tensor([index + noise], dtype=torch.float32)
        return {"inputs": number, "data_samples": Named(f"image_{index}.png")}


class Named:
    """What mmdet's and mmseg's samples have of a path."""

    def __init__(self, img_path):
        self.img_path = img_path


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """A weight and a buffer. Dropout draws from torch's generator."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode="loss"):
        inputs = torch.nn.functional.dropout(torch.stack(list(inputs)) / 12, 0.5)
        return {"loss_a": self.linear(inputs).square().mean(), "loss_b": (self.linear.weight - 1).square().mean()}


def toy_runner(work_dir, hooks=(), resume=None, save_on_signal=False, by_epoch=True, **options):
    """Build the Runner of a run of 3 epochs of 4 iterations; `options` update the config."""
    loop = dict(by_epoch=True, max_epochs=3) if by_epoch else dict(type="IterBasedTrainLoop", max_iters=12)
    sampler = dict(type="EpochSampler", shuffle=True) if by_epoch else dict(type="InfiniteSampler", shuffle=True)
    cfg = Config(dict(
        default_scope="mimtransfer",
        model=dict(type="ToyModel"),
        train_dataloader=dict(batch_size=3, num_workers=0, dataset=dict(type="ToyNumbers"), sampler=sampler,
                              collate_fn=dict(type="pseudo_collate")),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=by_epoch, interval=1 if by_epoch else 4,
                                           max_keep_ckpts=2),
                           logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=list(hooks),
        log_processor=dict(by_epoch=by_epoch, window_size=1),
        randomness=dict(seed=0),
        work_dir=str(work_dir),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
    ))  # fmt: skip
    cfg.merge_from_dict(options)
    launch.set_resume(cfg, resume)
    set_safeguards(cfg, save_on_signal)
    runner = Runner.from_cfg(cfg)
    train = runner.train

    def train_and_stop_workers():
        """What would end them later, the garbage collector, closes their queues first and waits for each 5 seconds."""
        try:
            return train()
        finally:
            if iterator := getattr(runner.train_dataloader, "_iterator", None):
                iterator._shutdown_workers()

    runner.train = train_and_stop_workers
    return runner
