"""Linear probes on cached features of a ViT-B/16 with 10 % of the labels of ImageNet-1K.

Command   torchrun --nproc_per_node=8 tools/test.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Data      a class-balanced subset, drawn by `seed`;
          SimCLR's published one: dict(list_file="10percent.txt", fraction=None)
Score     top-1: not yet run; no time known
"""
_base_ = "./linear-sweep_vit-base_in1k.py"
protocol = "linear probe, ImageNet-1k, cached features, 10 % of the labels"
test_cfg = dict(memory_dataloader=dict(dataset=dict(fraction=0.1)), batch_size=1024)
