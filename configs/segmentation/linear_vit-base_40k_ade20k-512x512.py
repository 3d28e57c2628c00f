"""Linear probe on ADE20K at 512, ViT-B/16: one 1 x 1 convolution on frozen tokens, 40k iterations.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Time      not yet run here
Score     none published for MAE under this protocol; not yet run here
Trained   with the scale and shift of the final norm, which the convolution could take up
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"
from mimtransfer.training.recipes import iteration_linear

protocol = "Linear probe, ADE20K 512, 40k iterations"
model = dict(
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
)
train_cfg, param_scheduler = iteration_linear(iters=40000)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
