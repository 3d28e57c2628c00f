"""Linear depth probe on NYU Depth v2, ViT-B/16: batch norm and one linear layer over 256 bins on the frozen tokens of
four blocks side by side, as DINOv2's "lin. 4" (arXiv 2304.07193, sec. 7.4), 38,400 iterations of 16 images.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/nyu/{images,annotations}/{train,test} (docs/transfer.md)
Time      not yet run here
Score     none published for MAE under this protocol; DINOv2's RMSE are for patches of 14; not yet run here
Departs   mimtransfer/evaluation/probing/depth.py says in what; no rotation by 2.5 degrees, no flipped views in the test
Trained   with the scale and shift of the final norm; lr and clipping as in DVT's rebuild (arXiv 2401.02957)
"""
_base_ = [
    "../_base_/model/frozen_maps_vit-base.py",
    "../_base_/data/nyu.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/depth_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

protocol = "Linear depth probe of 4 blocks, NYU v2, 38.4k iterations"
model = dict(
    type="DepthEstimator",
    data_preprocessor=dict(seg_pad_val=0, size=(416, 544)),  # 0 is no depth
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,
        out_indices=(2, 5, 8, 11),
        final_norm=True,
        frozen_stages=12,
    ),
    neck=dict(type="mimtransfer.BatchNormMaps", channels=[768] * 4),
    decode_head=dict(
        type="mimtransfer.LinearDepthHead",
        in_channels=[768] * 4,
        min_depth=1e-3,
        max_depth=10.0,
        loss_decode=dict(type="mmseg.SiLogLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
train_cfg, param_scheduler = iteration_cosine(iters=38400, warmup=12800, start_factor=0.001)
optim_wrapper = dict(
    optimizer=dict(lr=5e-3, weight_decay=0.01),
    paramwise_cfg=dict(layer_decay_rate=1.0),
    clip_grad=dict(max_norm=35),
)
default_hooks = dict(checkpoint=dict(interval=6400))
