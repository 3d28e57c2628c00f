"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-B/16, ImageNet-1k.

Command   torchrun --nproc_per_node=8 tools/test.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Data      data/imagenet/{train,val} as class folders
Score     k-NN top-1: not yet run; no time known
"""
_base_ = ["../_base_/model/frozen_vit-base.py", "../_base_/data/in1k_frozen.py", "../_base_/classification_runtime.py"]
protocol = "k-NN, ImageNet-1k"
test_cfg = dict(type="KNNLoop", k=20, temperature=0.07)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
