"""Backbones and pyramids, for pretraining and transfer alike."""
from mimtransfer.backbones.cnn import TimmCNN
from mimtransfer.backbones.position import sincos2d
from mimtransfer.backbones.pyramid import SimpleFeaturePyramid
from mimtransfer.backbones.swin import TimmSwin
from mimtransfer.backbones.vit import TimmViT

__all__ = ["SimpleFeaturePyramid", "TimmCNN", "TimmSwin", "TimmViT", "sincos2d"]
