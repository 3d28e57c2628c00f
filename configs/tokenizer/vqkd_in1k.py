"""Ids of VQ-KD (BEiT v2, arXiv 2208.06366) for the middle of each ImageNet image, as MaPeT's published runs use them.

Command: python tools/fit_tokenizer.py configs/tokenizer/vqkd_in1k.py --ids. Nothing is fitted. Not yet run.
"""
_base_ = ["../_base_/data/in1k.py"]
tokenizer = dict(type="VQKDTokenizer", checkpoint="weights/vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth")
view = dict(type="CenterCrop", size=224, ratio=1.0)
