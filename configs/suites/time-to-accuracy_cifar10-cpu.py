"""Accuracy against training time on CIFAR-10 in full, on a CPU: a small ViT/4 (1.2 M parameters), MAE and what promises
the same representation for less.

Command   TIMM_FUSED_ATTN=0 python tools/time_to_accuracy.py configs/suites/time-to-accuracy_cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      one thread of a busy x86-64 machine with AVX-512, without AMX: an epoch of MAE takes 145 to 165 CPU s, of the
          cross decoder at 24 x 24 pixels 90, a pass that measures maps 85 to 100; a task at a mark about a minute
Score     docs/results/time-to-accuracy.md: MAE and CrossMAE with small images first, three seeds

lr, schedule and batch are those of the 10-epoch configs, as they were before the first run; data2vec 2.0 has those of
its 4-epoch config, whose lr was chosen of three by images held out of the training set. Nothing was chosen on scores
that are reported. One more contender is one line in `pretrainings`.
"""
seeds = [0, 1, 2]
_amp = False  # bf16 is faster only on a CPU with AMX
_vit = dict(depth=6, embed_dim=128, num_heads=2)


def _contender(config, epochs=10, length="10e", **options):
    schedule = {
        "train_cfg.max_epochs": epochs,
        "param_scheduler.0.end": 1,  # warm-up
        "param_scheduler.1.begin": 1,
        "param_scheduler.1.end": epochs,
        "param_scheduler.1.T_max": epochs - 1,
    }
    fixed = {
        **{f"model.encoder.model_kwargs.{key}": value for key, value in _vit.items()},
        "train_dataloader.dataset.num_images": None,  # all 50,000
        # One process and one thread, so that its CPU time is all that the training takes.
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
    }
    return dict(config=f"configs/pretrain/{config}_vit-tiny-p4_{length}_cifar10.py", amp=_amp,
                options={**fixed, **schedule, **options})


# A pass that measures maps takes 0.6 of an epoch of MAE, so there are three: after 1, 4 and 7 epochs.
_maps = {"custom_hooks.4.begin": 1, "custom_hooks.4.interval": 3, "custom_hooks.4.amp": _amp}
pretrainings = dict(
    mae=_contender("mae"),
    mae_cross_phases=_contender("mae_cross-phases"),
    mae_cross_phases_7e=_contender("mae_cross-phases", epochs=7),
    mae_amt=_contender("mae_amt", **_maps),
    # e.g. famt_light=_contender("mae_famt", **_maps, **{"model.strategy.mask_ratio": 0.45}),
    # Four epochs, for strategies and targets beside each other in little time: --only '*_4e-*' --baseline mae_4e
    mae_4e=_contender("mae", epochs=4),
    mae_amt_4e=_contender("mae_amt", epochs=4, **_maps),  # maps once, after the first epoch
    mae_famt_4e=_contender("mae_famt", epochs=4, **_maps),
    mae_semantic_4e=_contender("mae_semantic", epochs=4, **_maps),
    mae_cross_phases_2masks_4e=_contender("mae_cross-phases", epochs=4, **{"model.masks_per_image": 2}),
    ijepa_4e=_contender("ijepa", epochs=4),
    data2vec2_4e=_contender("data2vec2_phases", epochs=4, length="4e", **{"model.top_blocks": 5}),  # of 6
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
    images=[50_000 * epochs for epochs in (2, 4, 7)],
    turn_epochs=2,
)
