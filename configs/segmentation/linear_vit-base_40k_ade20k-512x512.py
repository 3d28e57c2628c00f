"""Linear probe on ADE20K at 512, ViT-B/16: one 1 x 1 convolution on frozen tokens, 40k iterations.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     none published for MAE under this protocol; not yet run here
Trained   with the scale and shift of the final norm, which the convolution could take up
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "mmseg::_base_/datasets/ade20k.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_linear

protocol = "Linear probe, ADE20K 512, 40k iterations"

crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        out_indices=(-1,),
        final_norm=True,
        img_size=224,
        rel_pos=None,
        layer_scale=None,
        drop_path_rate=0.0,
        frozen_stages=12,
    ),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=768,
        channels=768,
        in_index=0,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        norm_cfg=None,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode="slide", crop_size=crop_size, stride=(341, 341)),
)
train_cfg, param_scheduler = iteration_linear(iters=40000)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
