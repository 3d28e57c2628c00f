"""Hooks that pretraining and classification share."""
from mimtransfer.hooks.finite_loss import FiniteLossHook
from mimtransfer.hooks.seed import SeedHook

__all__ = ["FiniteLossHook", "SeedHook"]
