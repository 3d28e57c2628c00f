"""Models, data and metric too small to take time, and configs of Runners that RecordHook is tested in."""
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner

from mimtransfer.checkpoints.safe_load import allow_mmengine_checkpoints, read_checkpoint


@MODELS.register_module()
class RecordToyNet(torch.nn.Linear):
    def __init__(self, arch="toy", init_cfg=None, report=None):
        super().__init__(3, 1)
        self.init_cfg = init_cfg
        if report is not None:
            self.load_report = report


@MODELS.register_module()
class RecordToyModel(BaseModel):
    def __init__(self, strategy=None, encoder=None, backbone=None, decode_head=None, masks_per_image=1):
        super().__init__()
        self.masks_per_image = masks_per_image
        if encoder:
            self.encoder = MODELS.build(encoder)
        else:
            self.backbone = MODELS.build(backbone)

    def forward(self, inputs, mode="loss", **_):
        net = self.encoder if hasattr(self, "encoder") else self.backbone
        loss = net(inputs).square().mean()
        return {"loss": loss} if mode == "loss" else [loss]


@DATASETS.register_module()
class RecordToyData(torch.utils.data.Dataset):
    metainfo = {}

    def __init__(self, size, data_root=None, ann_file=None):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"inputs": torch.full((3,), float(index))}


@METRICS.register_module()
class RecordToyMetric(BaseMetric):
    def __init__(self, score=41.5):
        super().__init__()
        self.score = score

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {"mIoU": self.score, "aAcc": 80.0}


@HOOKS.register_module()
class RecordToyKill(Hook):
    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            raise KeyboardInterrupt


def loader(size, batch_size, **fields):
    sampler = {"type": "DefaultSampler", "shuffle": False}
    dataset = {"type": "RecordToyData", "size": size, **fields}
    collate = {"type": "default_collate"}
    return {"batch_size": batch_size, "num_workers": 0, "sampler": sampler, "dataset": dataset, "collate_fn": collate}


def base(work_dir, hooks=(), **fields):
    cfg = {
        "work_dir": str(work_dir),
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.01}},
        "custom_hooks": [{"type": "mimtransfer.RecordHook", "warmup": 2}, *hooks],
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "randomness": {"seed": 5},
        "log_level": "ERROR",
    }
    loop = {"by_epoch": True, "max_epochs": 4}
    return {"train_dataloader": loader(10, 4, data_root="/data/camvid"), "train_cfg": loop, **cfg, **fields}


def pretraining(work_dir, hooks=(), strategy="RandomMasking", **fields):
    model = {
        "type": "RecordToyModel",
        "strategy": {"type": strategy},
        "encoder": {"type": "RecordToyNet", "arch": "vit_toy"},
    }
    return base(work_dir, hooks, model=model, **fields)


def segmentation(work_dir, hooks=(), backbone=(), **fields):
    evaluation = {"val_cfg": {}, "val_dataloader": loader(3, 1), "val_evaluator": {"type": "RecordToyMetric"}}
    evaluation |= {key.replace("val_", "test_"): value for key, value in evaluation.items()}
    part = dict(type="RecordToyNet", arch="vit_toy", **dict(backbone))
    model = {"type": "RecordToyModel", "backbone": part, "decode_head": {"type": "UPerHead"}}
    return base(work_dir, hooks, model=model, protocol="toy", **{**evaluation, **fields})


def train(cfg):
    allow_mmengine_checkpoints()
    runner = Runner.from_cfg(Config(cfg))
    runner.train()
    return runner


def meta_of(path):
    return read_checkpoint(path)["meta"]["mimtransfer"]
