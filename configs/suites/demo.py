"""The study of `make demo`: does pretraining on unlabelled scenes help detection and segmentation of few others?

Command   make demo, or python tools/transfer.py configs/suites/demo.py [--seeds 0 1 2]
Data      made on this machine by the first job
Time      4 to 7 minutes on 2 CPU cores for one seed
Score     docs/results/demo.md
"""
work_dir = "work_dirs/demo"
seeds = [0]
data = dict(scenes=dict(command="python tools/make_scenes.py --out data/scenes", makes="data/scenes/meta.json"))
pretrainings = dict(
    mae=dict(config="configs/pretrain/mae_vit-demo_scenes.py"),
    mae_famt=dict(config="configs/pretrain/mae_famt_vit-demo_scenes.py"),
    random=None,
)
tasks = dict(
    det=dict(config="configs/detection/mask-rcnn_vit-demo_scenes.py"),
    seg=dict(config="configs/segmentation/upernet_vit-demo_scenes.py"),
)
table = dict(title="Demo")
# What the cost of a plan is estimated from before anything has run here.
records = ["docs/results/records/demo-three-seeds"]
