"""Mask2Former, ViT-B/16, 160k iterations of ADE20K at 512: mmseg's recipe, the ViT with layer decay.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/ade/ADEChallengeData2016: {images,annotations}/{training,validation} (docs/transfer.md)
Time      not yet run here
Score     none in mmseg for a plain ViT; not yet run here
Ops       multi-scale deformable attention: mmcv's own kernel where it is compiled, else plain torch (docs/openmmlab.md)
"""
_base_ = ["mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py"]
# In this order: mimtransfer supplies the operators that mmdet imports.
custom_imports = dict(_delete_=True, imports=["mimtransfer", "mmdet.models"])
custom_hooks = [dict(type="mimtransfer.RecordHook"), dict(type="mimtransfer.PredictionPictureHook")]
randomness = dict(seed=0)
sync_bn = "torch"
task = "segmentation"
protocol = "Mask2Former, ADE20K 512, 160k iterations"
crop_size = (512, 512)
model = dict(
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=512,
        out_indices=(-1,),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    neck=dict(type="mimtransfer.SimpleFeaturePyramid", in_channels=768, out_channels=256, num_outs=4),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    test_cfg=dict(_delete_=True, mode="slide", crop_size=crop_size, stride=(341, 341)),
)
embedding = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="mimtransfer.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=0.65,
        bias_decay_mult=1.0,
        custom_keys={"query_embed": embedding, "query_feat": embedding, "level_embed": embedding},
    ),
)
auto_scale_lr = dict(enable=True, base_batch_size=16)
auto_scale_iters = True
