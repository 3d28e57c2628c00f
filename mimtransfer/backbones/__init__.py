"""Backbones and pyramids, for pretraining and transfer alike."""
