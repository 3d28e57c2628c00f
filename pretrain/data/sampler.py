"""The order of the images, and the way of the epoch to the workers."""
from collections.abc import Iterator, Sized
from itertools import repeat

from mmengine.dataset import DefaultSampler

from mimtransfer.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """Give (epoch, index) where `DefaultSampler` gives index.

    A persistent worker holds the copy of the data set that it was started with, so the epoch has to travel with each
    index. The seed does not change any more: the data set gets it here, before workers start.

    The images that all ranks show in one step are those that a single process shows in that step with the same global
    batch.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True):
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if hasattr(dataset, "set_seed"):
            dataset.set_seed(self.seed)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(repeat(self.epoch), super().__iter__())
