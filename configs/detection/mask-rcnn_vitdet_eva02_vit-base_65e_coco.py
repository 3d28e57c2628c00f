"""ViTDet Mask R-CNN on EVA-02-B, 60k iterations of 128 images of COCO: the settings of EVA-02 (arXiv 2303.11331).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained eva02_B_pt_in21k_p14to16.pt
Settings  eva2_coco_cascade_mask_rcnn_vitdet_b_4attn_1024_lrd0p7.py of the authors' det/projects/ViTDet
Score     none published for Mask R-CNN, nor the time; not yet run here
Departs   Mask for Cascade Mask R-CNN; bf16; weight decay as in ViTDet; rotary positions in windows are those of the
          whole image, scaled to 16 x 16 patches, where the authors scale each window's own to that
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"
from mimtransfer.training.recipes import vitdet_schedule

protocol = "ViTDet Mask R-CNN EVA-02 ViT-B, COCO, 65 epochs"
model = dict(
    backbone=dict(arch="eva02_base_patch14_224", patch_size=16, pos_antialias=True, window_size=16, rel_pos=None,
                  rel_pos_size=None),
)
train_cfg, param_scheduler = vitdet_schedule(epochs=60, images=1000 * 128, batch=128)  # 60 times 1000 iterations
param_scheduler[0].update(end=1000)
param_scheduler[1].update(milestones=[48000, 54000])
optim_wrapper = dict(optimizer=dict(lr=5e-5))
auto_scale_lr = dict(base_batch_size=128)
