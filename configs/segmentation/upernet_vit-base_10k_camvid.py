"""UperNet, ViT-B/16, 10k iterations of CamVid in crops of 320.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/camvid/{images,annotations}/{train,val,test} (docs/transfer.md)
Time      not yet run here
Score     none published for MAE on these 11 classes; not yet run here
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "../_base_/data/camvid.py",
    "../_base_/schedule/upernet_160k.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_linear, sliding_window

protocol = "UperNet, CamVid, 10k iterations"
model = sliding_window((320, 320), stride=(213, 213), num_classes=11, img_size=(320, 320))
train_cfg, param_scheduler = iteration_linear(iters=10000, warmup=500, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
train_dataloader = dict(batch_size=2)  # 8 GPUs x 2 = 16
