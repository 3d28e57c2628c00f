"""UperNet, ViT-B/16, ADE20K at 512, BEiT's recipe for a checkpoint pretrained without labels (arXiv 2106.08254).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained beit_vit-base.pth
Score     not yet run here; no time known
Position  of a checkpoint with a position embedding (MAE, and ours): configs/_base_/model/upernet_beit_vit.py
"""
_base_ = [
    "../_base_/model/upernet_beit_vit.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import sliding_window

protocol = "UperNet as BEiT, ADE20K 512, 160k iterations"
model = sliding_window((512, 512), stride=(341, 341))
optim_wrapper = dict(
    optimizer=dict(lr=7e-4),
    # BEiT's code compares whole names, so its tables of relative positions and its class token are decayed.
    paramwise_cfg=dict(layer_decay_rate=0.65, no_decay_names=()),
)
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
