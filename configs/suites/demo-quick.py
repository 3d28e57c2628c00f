"""The study of `make demo QUICK=1`: the same way from images to the table and the report, too short for a gain.

Command   make demo QUICK=1
Data      made on this machine by the first job; as of demo.py
Time      about a minute and a half on 2 CPU cores
Score     none: 4 epochs of 1,000 images and 30 iterations show that all of it runs
"""
work_dir = "work_dirs/demo-quick"
seeds = [0]
data = dict(scenes=dict(command="python tools/make_scenes.py --out data/scenes", makes="data/scenes/meta.json"))
pretrainings = dict(
    mae=dict(
        config="configs/pretrain/mae_vit-demo_scenes.py",
        options={
            "train_dataloader.dataset.num_images": 1000,
            "train_cfg.max_epochs": 4,
            "param_scheduler.1.end": 4,
            "param_scheduler.1.T_max": 3,
        },
    ),
    random=None,
)
_short = {
    "train_cfg.max_iters": 30,
    "train_cfg.val_interval": 30,
    "param_scheduler.0.end": 5,
    "param_scheduler.1.begin": 5,
    "param_scheduler.1.end": 30,
    "param_scheduler.1.T_max": 25,
    "default_hooks.checkpoint.interval": 30,
}
tasks = dict(
    det=dict(config="configs/detection/mask-rcnn_vit-demo_scenes.py",
             options={**_short, "protocol": "Mask R-CNN, scenes, quick: 30 iterations"}),
    seg=dict(config="configs/segmentation/upernet_vit-demo_scenes.py",
             options={**_short, "protocol": "UperNet, scenes, quick: 30 iterations"}),
)
table = dict(
    title="Demo, a first look: too short for a gain",
    note="A first look: it shows that all of it runs, and is too short for a gain by pretraining (make demo is not).",
)
