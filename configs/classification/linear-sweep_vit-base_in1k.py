"""Linear probes on cached features of a ViT-B/16, ImageNet-1K: 6 learning rates x 3 weight decays in one pass.

Command   torchrun --nproc_per_node=8 tools/test.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Data      data/imagenet/{train,val} as class folders; 4 GB of features on each device
Time      not yet run
Score     top-1: not yet run. Not the published protocol, which crops at random: linear_mae_vit-base_90e_in1k.py
"""
_base_ = ["../_base_/model/frozen_vit-base.py", "../_base_/data/in1k_frozen.py", "../_base_/classification_runtime.py"]
protocol = "linear probe, ImageNet-1k, cached features"
model = dict(pooling="class")
test_cfg = dict(
    type="LinearSweepLoop",
    lrs=(0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    weight_decays=(0.0, 1e-4, 1e-2),
    optimizer=dict(type="LARS", momentum=0.9),
    epochs=90,
    warmup_epochs=10,
    batch_size=4096,
)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
