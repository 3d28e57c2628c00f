"""UperNet, ViT-B/16, ADE20K at 512, BEiT's recipe for a checkpoint pretrained without labels (arXiv 2106.08254).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained beit_vit-base.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     not yet run here
Departs   the bias of the keys, which BEiT lacks, is trained
Position  BEiT has relative positions alone; for a checkpoint with a position embedding (MAE, and BEiT or MaPeT of this
          project) add --cfg-options model.backbone.pos_embed=learned
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
protocol = "UperNet as BEiT, ADE20K 512, 160k iterations"

crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        pos_embed="none",
        layer_scale=0.1,
    ),
    test_cfg=dict(_delete_=True, mode="slide", crop_size=crop_size, stride=(341, 341)),
)
optim_wrapper = dict(
    optimizer=dict(lr=7e-4),
    # BEiT's code compares whole names, so its tables of relative positions and its class token are decayed.
    paramwise_cfg=dict(layer_decay_rate=0.65, no_decay_names=()),
)
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
