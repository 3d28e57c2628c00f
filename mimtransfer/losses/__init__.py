"""Losses that mmdet lacks."""
from mimtransfer.losses.federated import FederatedLoss

__all__ = ["FederatedLoss"]
