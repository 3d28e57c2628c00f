"""Score against the share of the labels on a CPU: 1, 2, 5, 10 and 100 % of CamVid (367 images) and BCCD (205), and 10
and 30 shots of BCCD, with MAE and from random weights; the small ViT/16 of camvid-bccd-cpu.py.

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/label-shares_camvid-bccd-cpu.py; the chart: --table
          --format html --out labels.html
Data      data/camvid, data/bccd (docs/results/real-pictures.md)
Time      3 pretrainings and 72 transfers of the length of camvid-bccd-cpu.py; not yet run
Score     not yet run. 1 % are 4 images of CamVid and 2 of BCCD
"""
seeds = [0, 1, 2]
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_backbone = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
pretrainings = dict(
    mae=dict(
        config="configs/pretrain/mae_vit-tiny_20e_camvid-bccd.py",
        options={f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()},
        amp=True,
    ),
    random=None,
)
_iters = 200
_schedule = {
    "optim_wrapper.optimizer.lr": 1.5e-3,
    "train_cfg.max_iters": _iters,
    "train_cfg.val_interval": _iters,
    "param_scheduler.1.T_max": _iters - 20,
    "param_scheduler.1.end": _iters,
    "default_hooks.checkpoint.interval": _iters,
}


def _bccd(**labels):
    return dict(
        config="configs/detection/faster-rcnn_vit-tiny_bccd-cpu.py",
        options={
            **_backbone,
            **_schedule,
            "protocol": f"Faster R-CNN, BCCD, {_iters} iterations",
            "model.neck.in_channels": 128,
            **labels,
        },
    )


def _camvid(**labels):
    return dict(
        config="configs/segmentation/upernet_vit-tiny_camvid-cpu.py",
        options={
            **_backbone,
            **_schedule,
            "protocol": f"UperNet, CamVid, {_iters} iterations",
            "model.backbone.out_indices": (1, 2, 3, 5),
            "model.neck.embed_dim": 128,
            "model.decode_head.in_channels": [128, 128, 128, 128],
            "model.auxiliary_head.in_channels": 128,
            **labels,
        },
        amp=True,
    )


tasks = dict(bccd_100=_bccd(), camvid_100=_camvid())
for _percent in (1, 2, 5, 10):
    _part = dict(label_share=_percent / 100, label_seed="{seed}")
    tasks |= {f"bccd_{_percent}": _bccd(**_part), f"camvid_{_percent}": _camvid(**_part)}
tasks |= {f"bccd_{_shots}shot": _bccd(label_shots=_shots, label_seed="{seed}") for _shots in (10, 30)}
table = dict(baseline="random init")
