"""Losses that mmdet lacks."""
from mimtransfer.training.losses.federated import FederatedLoss

__all__ = ["FederatedLoss"]
