"""MaPeT, ViT-B/16, 300 epochs on ImageNet-1K with k-CLIP.

Aims at: the setting of the released code (arXiv 2306.07346). Not yet run here.
Command: python tools/fit_tokenizer.py configs/tokenizer/k-clip_in1k.py, and once more with --ids; then
    torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
Random crops instead: a tokenizer that computes ids, as in beit_block_vit-base_800e_in1k_dvae.py.
Fine-tuning: configs/classification/finetune_mapet_vit-base_100e_in1k.py.
"""
_base_ = [
    "../_base_/model/mapet_vit-base.py",
    "../_base_/data/in1k_centre.py",
    "../_base_/schedule/adamw_mapet.py",
    "../_base_/pretrain_runtime.py",
]
train_dataloader = dict(batch_size=256)
