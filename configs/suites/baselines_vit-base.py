"""The rows that reviewers ask for, ViT-B/16: random weights, supervised, MAE, DINOv2, DINOv3, a detector of COCO.

Command   python tools/transfer.py configs/suites/baselines_vit-base.py --plan; then without, or with --executor slurm
Data      data/imagenet, data/coco, data/ade/ADEChallengeData2016 (docs/transfer.md); the files named below
Time      21 runs; hours to days on 8 GPUs each for COCO and ADE20K; not yet run here
Table     rows of other backbones share a column; notes below the table say what differs
Own row   mine=dict(checkpoint="work_dirs/mae_vit-base_800e_in1k") in `pretrainings`

DINOv2 has layer scale and patches of 14, which are resampled to 16: all rows have maps of the same strides. Its own
evaluation at patches of 14 scores somewhat higher. The detector's backbone has seen the labels of COCO, so it is no row
of that column, and its windows make no features of a whole image.
"""
seeds = [0]
pretrainings = dict(
    random=None,
    supervised=dict(
        checkpoint="checkpoints/deit_base_patch16_224.pth",
        source="https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth, or from timm on Hugging Face "
        "(deit_base_patch16_224.fb_in1k)",
    ),
    mae=dict(
        checkpoint="checkpoints/mae_pretrain_vit_base.pth",
        source="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
    ),
    dinov2=dict(
        checkpoint="checkpoints/dinov2_vitb14_pretrain.pth",
        source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        backbone=dict(arch="vit_base_patch14_dinov2", patch_size=16),
    ),
    dinov3=dict(
        checkpoint="checkpoints/dinov3_vitb16_pretrain_lvd1689m.pth",
        source="https://github.com/facebookresearch/dinov3 (on request), or from timm on Hugging Face "
        "(vit_base_patch16_dinov3.lvd1689m)",
        backbone=dict(
            arch="vit_base_patch16_dinov3",
            pos_embed="learned",
            pos_antialias=True,
            rel_pos=None,
            rel_pos_size=None,
            layer_scale=None,
        ),
    ),
    coco_detector=dict(
        checkpoint="checkpoints/mask_rcnn_vitdet_b.pkl",
        source="https://dl.fbaipublicfiles.com/detectron2/ViTDet/COCO/mask_rcnn_vitdet_b/f325346929/"
        "model_final_61ccd1.pkl",
        backbone=dict(
            img_size=224,
            window_size=14,
            global_blocks=[2, 5, 8, 11],
            rel_pos="decomposed",
            rel_pos_size=1024,
            layer_scale=None,
        ),
    ),
)
tasks = dict(
    knn=dict(config="configs/classification/knn_vit-base_in1k.py", amp=True, skip=["coco_detector"]),
    linear=dict(config="configs/classification/linear-sweep_vit-base_in1k.py", amp=True, skip=["coco_detector"]),
    coco=dict(
        config="configs/detection/mask-rcnn_vitdet_vit-base_25e_coco.py", gpus=8, amp=True, skip=["coco_detector"]
    ),
    ade20k=dict(config="configs/segmentation/upernet_vit-base_160k_ade20k-512x512.py", gpus=8, amp=True),
)
table = dict(across_backbones=True)
