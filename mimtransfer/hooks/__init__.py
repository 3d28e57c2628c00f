"""Hooks that several kinds of runs share."""
from mimtransfer.hooks.finite_loss import FiniteLossHook
from mimtransfer.hooks.predictions import PredictionPictureHook
from mimtransfer.hooks.seed import SeedHook
from mimtransfer.hooks.transfer_check import TransferCheckHook

__all__ = ["FiniteLossHook", "PredictionPictureHook", "SeedHook", "TransferCheckHook"]
