"""Frozen features of each method on CIFAR-10 and CamVid, on a CPU: a ViT/4 of 1.2 M parameters, 12,000 images of
training (3 epochs of 4,000, 186 steps).

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/frozen_camvid-cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md), data/camvid (docs/transfer.md)
Time      about 100 CPU minutes of one core of an x86-64 machine with AVX-512: half of it trains
Score     docs/results/frozen.md

It shows that each method goes through the frozen protocols, what a seed scatters, and which features are better or
worse than random ones after the first minutes. It cannot rank the methods: lr and schedule are the same for all, not
tuned, and published gains are those of thousands of times as many images. No encoder has seen CamVid before. Maps are
measured after each epoch, first after a third of the training. MaPeT's codes are k-means on MAE's features: its row has
seen MAE's training, too. cifar10-cpu.py trains 8 times as long.
"""
seeds = [0, 1, 2]
_epochs = 3
_amp = False  # bf16 is faster only on a CPU with AMX
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_pretraining = {
    **{f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()},
    "train_dataloader.dataset.num_images": 4000,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "train_cfg.max_epochs": _epochs,
    "param_scheduler.1.end": _epochs,
    "param_scheduler.1.T_max": _epochs - 1,
}
_maps = {"custom_hooks.4.min_images": 4000, "custom_hooks.4.amp": _amp}


def _method(config, **options):
    return dict(config=f"configs/pretrain/{config}_vit-tiny-p4_10e_cifar10.py", amp=_amp,
                options={**_pretraining, **options})


tokenizers = dict(
    codes=dict(
        config="configs/tokenizer/kmeans-mae_cifar10.py",
        options={
            "features.checkpoint": f"{{mae}}/epoch_{_epochs}.pth",
            "train_dataloader.dataset.num_images": 4000,
            "kmeans.num_codes": 256,
        },
        seeds=[0],  # one codebook for all seeds: to the table another one is another pretraining
    )
)
pretrainings = dict(
    random=None,
    mae=_method("mae"),
    mae_amt=_method("mae_amt", **_maps),
    mae_famt=_method("mae_famt", **_maps),
    mae_semantic=_method("mae_semantic", **_maps),
    mae_cross=_method("mae_cross"),
    simmim=_method("simmim"),
    mfm=_method("mfm"),
    data2vec2=_method("data2vec2", **{"model.top_blocks": 5}),  # of 6; published: 10 of 12
    ijepa=_method("ijepa"),
    mapet=_method("mapet", **{"model.tokenizer.codebook": "{codes}/codebook.pth"}),
)
_frozen = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
_cifar = {
    **_frozen,
    "test_cfg.memory_dataloader.dataset.num_images": 2000,
    "test_dataloader.dataset.num_images": 2000,
    "test_cfg.memory_dataloader.num_workers": 0,
    "test_dataloader.num_workers": 0,
}
_camvid = {**_frozen, "test_cfg.memory_dataloader.num_workers": 0, "test_dataloader.num_workers": 0}


def _task(config, options, **more):
    return dict(config=f"configs/{config}.py", options={**options, **more}, amp=_amp)


tasks = dict(
    knn=_task("classification/knn_vit-tiny-p4_cifar10", _cifar, protocol="k-NN, CIFAR-10, 2000 labelled, 2000 tested"),
    linear=_task("classification/linear-sweep_vit-tiny-p4_cifar10", _cifar,
                 protocol="linear probe, CIFAR-10, cached features of 2000, 2000 tested"),
    patch_knn=_task("patch_probing/knn_vit-tiny-p4_camvid-cpu", _camvid),
    patch_logistic=_task("patch_probing/logistic_vit-tiny-p4_camvid-cpu", _camvid),
)
table = dict(baseline="MAE")
