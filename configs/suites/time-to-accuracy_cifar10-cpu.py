"""Accuracy against training time on CIFAR-10 in full, on a CPU: a small ViT/4 (1.2 M parameters), MAE and what promises
the same representation for less.

Command   TIMM_FUSED_ATTN=0 python tools/time_to_accuracy.py configs/suites/time-to-accuracy_cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      one thread of a busy x86-64 machine with AVX-512, without AMX: an epoch of MAE takes 150 to 204 CPU s, 60 take
          2.5 to 3.4 h; a step of AMT 0.6 of MAE's, a pass that measures maps 0.65 of an epoch of MAE; a task at a mark
          about a minute
Score     not yet run; docs/time-to-accuracy.md has what a run of 10 epochs showed that was not finished

lr, schedule and batch are those of the 10-epoch configs for all contenders, as they were before the first run; nothing
was chosen on the scores that are reported. Maps are measured as published: first after 10 % of the training, then every
10 %. One more contender is one line in `pretrainings`.
"""
seeds = [0, 1, 2]
_epochs = 60
_warmup = 3  # epochs, 5 % of the training
_amp = False  # bf16 is faster only on a CPU with AMX
_vit = dict(depth=6, embed_dim=128, num_heads=2)
_pretraining = {
    **{f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()},
    "train_dataloader.dataset.num_images": None,  # all 50,000
    # One process and one thread, so that its CPU time is all that the training takes.
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "train_cfg.max_epochs": _epochs,
    "param_scheduler.0.end": _warmup,
    "param_scheduler.1.begin": _warmup,
    "param_scheduler.1.end": _epochs,
    "param_scheduler.1.T_max": _epochs - _warmup,
}
_maps = {"custom_hooks.4.begin": _epochs // 10, "custom_hooks.4.interval": _epochs // 10, "custom_hooks.4.amp": _amp}
_cross = {"model.decoder.type": "CrossDecoder", "model.decoder.depth": 4, "model.decoder.predict_ratio": 0.25}


def _contender(config, **options):
    return dict(config=f"configs/pretrain/{config}_vit-tiny-p4_10e_cifar10.py", amp=_amp,
                options={**_pretraining, **options})


pretrainings = dict(
    mae=_contender("mae"),
    mae_amt=_contender("mae_amt", **_maps),
    mae_famt=_contender("mae_famt", **_maps),
    mae_cross_amt=_contender("mae_amt", **_maps, **_cross),
    # e.g. famt_light=_contender("mae_famt", **_maps, **{"model.strategy.mask_ratio": 0.45}),
)
_frozen = {f"model.backbone.model_kwargs.{key}": value for key, value in _vit.items()}
tasks = dict(
    linear=dict(config="configs/classification/linear-sweep_vit-tiny-p4_cifar10.py", options=_frozen, amp=_amp),
    knn=dict(config="configs/classification/knn_vit-tiny-p4_cifar10.py", options=_frozen, amp=_amp),
)
table = dict(baseline="MAE")
curves = dict(
    title="Time to accuracy: CIFAR-10 on a CPU",
    baseline="mae",
    clock="cpu",
    images=[0] + [50_000 * epochs for epochs in (2, 5, 10, 20, 30, 45)],
    seconds=[1200, 3600],
    turn_epochs=2,
)
