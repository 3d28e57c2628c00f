"""Linear probe on ADE20K at 512 as DINOv2's (arXiv 2304.07193, sec. 7.4): batch norm and one 1 x 1 convolution on the
frozen tokens of the last four blocks of a ViT-B/16 side by side, 40k iterations.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Time      not yet run here
Score     none published for MAE; DINOv2's are for patches of 14, 640 pixels and several scales; not yet run here
Departs   one scale; the final norm follows the last block alone, the batch norm makes up for it in the others
"""
_base_ = "./linear_vit-base_40k_ade20k-512x512.py"
protocol = "Linear probe of 4 blocks, ADE20K 512, 40k iterations"
model = dict(
    backbone=dict(out_indices=(8, 9, 10, 11)),
    neck=dict(_delete_=True, type="mimtransfer.BatchNormMaps", channels=[768] * 4),
    decode_head=dict(
        in_channels=[768] * 4,
        in_index=[0, 1, 2, 3],
        input_transform="resize_concat",
        channels=4 * 768,
    ),
)
