"""k-CLIP of MaPeT (arXiv 2306.07346): k-means on the last feature map of OpenAI's CLIP RN50x64, 8192 codes, 14 x 14.

Weights: model.safetensors of https://huggingface.co/timm/resnet50x64_clip_gap.openai, saved under the name below.
Command: python tools/fit_tokenizer.py configs/tokenizer/k-clip_in1k.py, then with --ids for the ids of all images.

The released code fits on up to 512 patches for a code with faiss, 20 iterations, 5 restarts, the best of which it
keeps. Here 64 patches for a code, 8.6 GB of features in memory (512 need 69 GB), in mini-batches. Not yet run.
"""
_base_ = ["../_base_/data/in1k.py"]
features = dict(
    type="TimmFeatures",
    arch="resnet50x64_clip_gap",
    checkpoint="weights/resnet50x64_clip_gap.openai.safetensors",
    input_size=448,
)
kmeans = dict(num_codes=8192, patches_per_code=64, patches_per_image=16, epochs=20, batch_size=16384)
view = dict(type="CenterCrop", size=448, ratio=1.0)  # CLIP's own
train_dataloader = dict(batch_size=32, dataset=dict(transform=dict(_delete_=True, **view)))
