"""Batches of images whose channels lie side by side, as decoders and resizers write them, ordered on the device.

`default_collate` would order them in the loader's workers, value by value, which takes as long as a quarter of all the
rest for an image that is stored raw.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from mimtransfer.datasets.shared_memory import LateSamples, SharedBatch, stack_as_they_come
from mimtransfer.registry import FUNCTIONS


@FUNCTIONS.register_module()
def stack_images(data_batch: Sequence[Mapping[str, Any]]) -> Any:
    """Stack samples as `default_collate` does, with the same values, but leave pixels in the order they lie in.

    Args:
        data_batch: samples, dictionaries; their `inputs` are [C, H, W], in memory [H, W, C], or contiguous.

    Returns:
        A dictionary: `inputs` [B, C, H, W], in memory as the samples; everything else stacked. Workers put the pixels
        into shared memory that is used again.
    """
    given = data_batch.one_by_one() if isinstance(data_batch, LateSamples) else data_batch
    samples, images = stack_as_they_come(given, len(data_batch))
    if images is None:
        return default_collate(samples)  # its error names the shapes
    interleaved = not samples[0]["inputs"].is_contiguous()
    rest = default_collate([{key: value for key, value in sample.items() if key != "inputs"} for sample in samples])
    batch = dict(inputs=images.permute(0, 3, 1, 2) if interleaved else images, **rest)
    return SharedBatch(batch) if get_worker_info() else batch


def order_channels(preprocessor: BaseDataPreprocessor, args: tuple) -> tuple | None:
    """Bring a batch to the device and make its `inputs` contiguous there: a forward pre-hook of a preprocessor.

    What comes after it, and so every rounding, does not depend on how a batch was stacked.
    """
    inputs = args[0].get("inputs") if isinstance(args[0], Mapping) else None
    if not isinstance(inputs, Tensor) or inputs.is_contiguous():
        return None
    batch: Any = preprocessor.cast_data(args[0])  # to the device
    return {**batch, "inputs": batch["inputs"].contiguous()}, *args[1:]
