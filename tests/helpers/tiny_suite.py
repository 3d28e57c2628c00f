"""A suite of 3 pretrainings x 3 tasks x 3 seeds on the embedded scenes, each job seconds of work: for kill_suite.py.

The tasks are box and mask AP, mIoU, and k-NN on crops of the things.
"""
work_dir = "work_dirs/tiny_suite"
seeds = [0, 1, 2]
data = dict(
    scenes=dict(command="python tools/make_scenes.py --out data/scenes", makes="data/scenes/meta.json"),
    crops=dict(command="python tests/helpers/scene_crops.py", makes="data/scene-crops/meta.json"),
)
_here = {"num_workers": 0, "persistent_workers": False}
_pretrain = {
    **{f"train_dataloader.{key}": value for key, value in _here.items()},
    "train_dataloader.dataset.root": "data/scenes/train",
    "train_cfg.max_epochs": 3,
    "default_hooks.logger.interval": 1,
}
pretrainings = dict(
    mae=dict(config="configs/pretrain/mae_vit-demo_scenes.py", options=_pretrain),
    famt=dict(
        config="configs/pretrain/mae_famt_vit-demo_scenes.py",
        options={**_pretrain, "custom_hooks.4.begin": 1, "custom_hooks.4.interval": 1},
    ),
    mfm=dict(config="configs/pretrain/mfm_vit-demo_scenes.py", options=_pretrain),
)
_transfer = {
    **{f"{loader}_dataloader.{key}": value for loader in ("train", "val", "test") for key, value in _here.items()},
    "val_dataloader.dataset.indices": 40,
    "test_dataloader.dataset.indices": 40,
    "train_cfg.max_iters": 8,
    "train_cfg.val_interval": 8,
    "param_scheduler.0.start_factor": 1.0,
    "default_hooks.logger.interval": 1,
}
_knn = {
    "model.backbone.img_size": 64,
    "model.backbone.patch_size": 8,
    "model.backbone.model_kwargs.depth": 6,
    "model.backbone.model_kwargs.embed_dim": 128,
    "model.backbone.model_kwargs.num_heads": 2,
    "test_cfg.memory_dataloader.dataset.root": "data/scene-crops/train",
    "test_cfg.memory_dataloader.dataset.transform.0.size": (64, 64),
    "test_cfg.memory_dataloader.dataset.num_images": None,
    "test_cfg.memory_dataloader.num_workers": 0,
    "test_dataloader.dataset.root": "data/scene-crops/val",
    "test_dataloader.dataset.transform.0.size": (64, 64),
    "test_dataloader.num_workers": 0,
    "protocol": "k-NN-of-scene-crops",
}
tasks = dict(
    det=dict(config="configs/detection/mask-rcnn_vit-demo_scenes.py", options=_transfer),
    seg=dict(config="configs/segmentation/upernet_vit-demo_scenes.py", options=_transfer),
    knn=dict(config="configs/classification/knn_vit-tiny-p4_cifar10.py", options=_knn),
)
table = dict(baseline="MAE", digits=3)
