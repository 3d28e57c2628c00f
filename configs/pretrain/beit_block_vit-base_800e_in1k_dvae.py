"""BEiT, ViT-B/16, 800 epochs on ImageNet-1K with the discrete VAE of DALL-E: codes of the very crop, at 112 pixels.

Aims at: fine-tuning 83.2 (arXiv 2106.08254), which has a shared relative position bias where this has learned
absolute positions. Not yet run here.
Weights: encoder.pkl of DALL-E (cdn.openai.com/dall-e/encoder.pkl), see docs/tokenizers.md.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
"""
_base_ = [
    "../_base_/model/mapet_vit-base.py",
    "../_base_/data/in1k.py",
    "../_base_/schedule/adamw_mapet.py",
    "../_base_/pretrain_runtime.py",
]
from mimtransfer.training.recipes import warmup_cosine

model = dict(
    type="BEiT",
    strategy=dict(_delete_=True, type="BlockMasking", mask_ratio=75 / 196),
    tokenizer=dict(_delete_=True, type="DALLETokenizer", checkpoint="weights/encoder.pkl", input_size=112),
)
train_dataloader = dict(batch_size=256, dataset=dict(transform=dict(scale=(0.08, 1.0), color_jitter=0.4)))
train_cfg = dict(max_epochs=800)
param_scheduler = warmup_cosine(epochs=800, warmup=10, start_factor=1e-6 / 1.5e-3, eta_min_ratio=1e-5 / 1.5e-3)
