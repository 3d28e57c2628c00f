"""All methods on real pictures on a CPU: as camvid-bccd.py with a small ViT/16 (1.4 M parameters), so that a seed is
done within an hour or two of two cores.

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/camvid-bccd-cpu.py
Data      data/camvid, data/bccd (docs/results/real-pictures.md)
Score     docs/results/study.md
"""
seeds = [0, 1, 2]
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_pretraining = {f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()}
_backbone = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
tokenizers = dict(
    codes=dict(
        config="configs/tokenizer/kmeans-mae_camvid-bccd.py",
        options={"features.checkpoint": "{mae}/epoch_20.pth"},
        seeds=[0],  # one codebook for all seeds: to the table another one is another pretraining
    )
)
pretrainings = {
    name: dict(config=f"configs/pretrain/{name}_vit-tiny_20e_camvid-bccd.py", options=_pretraining, amp=True)
    for name in ("mae", "simmim", "mae_amt", "mae_famt", "mae_semantic", "mfm")
}
pretrainings["mapet"] = dict(
    config="configs/pretrain/mapet_vit-tiny_20e_camvid-bccd.py",
    options={**_pretraining, "model.tokenizer.codebook": "{codes}/codebook.pth"},
    amp=True,
)
pretrainings["random"] = None
_iters = 200
# The lr of the demo, whose ViT this is: on eight training pictures of CamVid, four times the config's learned faster.
_schedule = {
    "optim_wrapper.optimizer.lr": 1.5e-3,
    "train_cfg.max_iters": _iters,
    "train_cfg.val_interval": _iters,
    "param_scheduler.1.T_max": _iters - 20,
    "param_scheduler.1.end": _iters,
    "default_hooks.checkpoint.interval": _iters,
}
tasks = dict(
    bccd=dict(
        config="configs/detection/faster-rcnn_vit-tiny_bccd-cpu.py",
        options={
            **_backbone,
            **_schedule,
            "protocol": f"Faster R-CNN, BCCD, {_iters} iterations",
            "model.neck.in_channels": 128,
        },
    ),
    camvid=dict(
        config="configs/segmentation/upernet_vit-tiny_camvid-cpu.py",
        options={
            **_backbone,
            **_schedule,
            "protocol": f"UperNet, CamVid, {_iters} iterations",
            "model.backbone.out_indices": (1, 2, 3, 5),
            "model.neck.embed_dim": 128,
            "model.decode_head.in_channels": [128, 128, 128, 128],
            "model.auxiliary_head.in_channels": 128,
        },
        amp=True,
    ),
)
