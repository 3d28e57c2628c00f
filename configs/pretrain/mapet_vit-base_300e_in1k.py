"""MaPeT, ViT-B/16, 300 epochs on ImageNet-1K with k-CLIP.

Aims at: the setting of the released code (arXiv 2306.07346), but for its colour jitter of 0.4, which we have not.
Not yet run here.
Command: python tools/fit_tokenizer.py configs/tokenizer/k-clip_in1k.py, and once more with --ids; then
    torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
Random crops instead: a tokenizer that computes ids, as in beit_block_vit-base_800e_in1k_dvae.py.
Published fine-tuning: 100 epochs at lr 5e-4 for 512 images, layer-wise decay 0.65, mean of patches, drop path 0.1.
"""
_base_ = [
    "../_base_/model/mapet_vit-base.py",
    "../_base_/data/in1k_centre.py",
    "../_base_/schedule/adamw_mapet.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=256)
