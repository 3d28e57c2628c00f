"""Score against the share of the labels on a CPU: 1, 2, 5, 10 and 100 % of CamVid (367 images) and BCCD (205), and 10
and 30 shots of BCCD, with MAE and from random weights; ViT, pretraining and tasks are those of camvid-bccd-cpu.py.

Command   TIMM_FUSED_ATTN=0 python tools/transfer.py configs/suites/label-shares_camvid-bccd-cpu.py; the chart: --table
          --format html --out labels.html
Data      data/camvid, data/bccd (docs/results/real-pictures.md)
Time      3 pretrainings and 72 transfers of the length of camvid-bccd-cpu.py; not yet run
Score     not yet run. 1 % are 4 images of CamVid and 2 of BCCD
"""
import runpy
from pathlib import Path

_study = runpy.run_path(str(Path(__file__).with_name("camvid-bccd-cpu.py")))
seeds = [0, 1, 2]
pretrainings = {name: _study["pretrainings"][name] for name in ("mae", "random")}


def _task(name, **labels):
    task = _study["tasks"][name]
    return dict(task, options={**task["options"], **labels})


tasks = dict(bccd_100=_task("bccd"), camvid_100=_task("camvid"))
for _percent in (1, 2, 5, 10):
    _part = dict(label_share=_percent / 100, label_seed="{seed}")
    tasks |= {f"{_data}_{_percent}": _task(_data, **_part) for _data in ("bccd", "camvid")}
tasks |= {f"bccd_{_shots}shot": _task("bccd", label_shots=_shots, label_seed="{seed}") for _shots in (10, 30)}
table = dict(baseline="random init")
