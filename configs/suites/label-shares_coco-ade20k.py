"""How many labels does a pretraining save? Detection and segmentation with 1, 2, 5, 10 and 100 % of the labelled images
of COCO and ADE20K, and with 10 and 30 shots of COCO; ViT-B/16.

Command   python tools/transfer.py configs/suites/label-shares_coco-ade20k.py --plan; then without, or with --executor
          slurm; the chart: --table --format html --out labels.html
Data      data/coco, data/ade/ADEChallengeData2016; checkpoints/mae_vit-base.pth, or your own pretrainings
Time      72 runs on 8 GPUs each; --only 'ade20k_1_*' for a part; not yet run here
Score     not yet run. Fewer iterations for fewer labels: their numbers are a guess, the same for every pretraining

Seed k of a run draws subset k of the labels; a smaller share is part of a larger one (docs/transfer.md).
"""
seeds = [0, 1, 2]
pretrainings = dict(mae=dict(checkpoint="checkpoints/mae_vit-base.pth"), random=None)
_labels = {"label_seed": "{seed}"}


def _ade20k(**options):
    return dict(config="configs/segmentation/upernet_vit-base_160k_ade20k-512x512.py", gpus=8,  # 16 images a step
                options={"protocol": "UperNet, ADE20K 512", **options})


def _coco(**options):
    return dict(config="configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py", gpus=8,
                options={"protocol": "ViTDet Mask R-CNN, COCO", "train_dataloader.batch_size": 8, **options})


def _short(iters):
    """Return what shortens a schedule to `iters` steps with one evaluation, at the end."""
    return {"train_cfg.max_iters": iters, "train_cfg.val_interval": iters, "param_scheduler.1.end": iters,
            "default_hooks.checkpoint.interval": iters}


def _short_vitdet(iters):
    steps = [round(iters * 8 / 9), round(iters * 26 / 27)]  # where ViTDet's 100 epochs have them
    return {**_short(iters), "train_cfg.dynamic_intervals": None, "param_scheduler.1.milestones": steps}


tasks = {
    f"ade20k_{_percent}": _ade20k(label_share=_percent / 100, **_short(_iters), **_labels)
    for _percent, _iters in {1: 10_000, 2: 20_000, 5: 40_000, 10: 40_000}.items()  # of 20,210 images
}
tasks["ade20k_100"] = _ade20k()
tasks |= {
    f"coco_{_percent}": _coco(label_share=_percent / 100, **_short_vitdet(_iters), **_labels)
    for _percent, _iters in {1: 7_500, 2: 15_000, 5: 30_000, 10: 45_000}.items()  # of 117,266 images with boxes
}
tasks["coco_100"] = _coco()
tasks |= {f"coco_{_shots}shot": _coco(label_shots=_shots, **_short_vitdet(7_500), **_labels) for _shots in (10, 30)}
table = dict(baseline="random init")
