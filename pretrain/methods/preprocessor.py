"""Normalise images of any number of channels, and bring them to [0, 1] and back."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS


@MODELS.register_module()
class BandPreprocessor(ImgDataPreprocessor):
    """Normalise each channel by its own mean and std, on the device.

    In a config `statistics='stats.json'`, a file of `tools/dataset_stats.py`, stands for all four arguments: the tools
    read it (`mimtransfer.cli.bands`) and put its numbers in the place of its name, so a checkpoint needs no such file.

    Args:
        mean, std: of each channel, in the units of the files.
        low, high: what counts as black and as white in each channel; 0 and 255 when not given.

    Attributes:
        mean, std, low, high: [C, 1, 1] float32.

    Raises:
        UserError: the four are not of one length, or a std or a range is not above 0.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], low: Sequence[float] | None = None,
                 high: Sequence[float] | None = None):
        super().__init__(mean=[0.0], std=[1.0])  # mmengine's knows 1 or 3 channels only
        values = dict(mean=mean, std=std, low=low or [0.0] * len(mean), high=high or [255.0] * len(mean))
        for name, numbers in values.items():
            if len(numbers) != len(mean):
                raise UserError(f"BandPreprocessor: got {len(numbers)} values of {name} and {len(mean)} of mean; "
                                "expected one for each channel")
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        if min(std) <= 0 or not all(low < high for low, high in zip(values["low"], values["high"])):
            raise UserError(f"BandPreprocessor: got std={list(std)}, low={values['low']}, high={values['high']}; "
                            "expected std above 0 and high above low in each channel")


def unit_statistics(preprocessor: Any) -> tuple[Tensor, Tensor]:
    """Return mean and std, [C, 1, 1] each, of images brought to [0, 1]: black is 0, white 1.

    Args:
        preprocessor: `BandPreprocessor`, or mmengine's for images of 0 to 255.
    """
    low, high = getattr(preprocessor, "low", 0), getattr(preprocessor, "high", 255)
    return (preprocessor.mean - low) / (high - low), preprocessor.std / (high - low)
