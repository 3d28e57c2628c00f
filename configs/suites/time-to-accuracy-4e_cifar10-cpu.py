"""Accuracy against training time in four epochs of CIFAR-10, on a CPU: all strategies and targets in the time of one
long run; otherwise as time-to-accuracy_cifar10-cpu.py.

Command   TIMM_FUSED_ATTN=0 python tools/time_to_accuracy.py configs/suites/time-to-accuracy-4e_cifar10-cpu.py
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      six to twelve CPU minutes a run on one thread of a busy x86-64 machine with AVX-512, and six for its marks
Score     docs/results/time-to-accuracy-4e.md: one seed, no proof

lr is that of the 10-epoch configs, nothing tuned; data2vec 2.0 has that of its 4-epoch config, chosen on images held out
of the training set.
"""
import runpy
from pathlib import Path

_long = runpy.run_path(str(Path(__file__).with_name("time-to-accuracy_cifar10-cpu.py")))
_contender, _maps = _long["_contender"], _long["_maps"]  # in four epochs maps are measured once, after the first
seeds = [0]
pretrainings = dict(
    mae_4e=_contender("mae", epochs=4),
    mae_amt_4e=_contender("mae_amt", epochs=4, **_maps),
    mae_famt_4e=_contender("mae_famt", epochs=4, **_maps),
    mae_semantic_4e=_contender("mae_semantic", epochs=4, **_maps),
    mae_cross_phases_2masks_4e=_contender("mae_cross-phases", epochs=4, **{"model.masks_per_image": 2}),
    ijepa_4e=_contender("ijepa", epochs=4),
    data2vec2_4e=_long["pretrainings"]["data2vec2_4e"],
)
tasks = _long["tasks"]
table = dict(baseline="MAE")
curves = {**_long["curves"], "title": "Time to accuracy in four epochs: CIFAR-10 on a CPU", "baseline": "mae_4e"}
