"""The order of the images, the way of the epoch to the workers, and the seed of a sample."""
import math
from collections.abc import Iterator, Sized
from itertools import islice, repeat

import torch
from mmengine.dataset import DefaultSampler

from mimtransfer.errors import UserError
from mimtransfer.registry import DATA_SAMPLERS

_MASK = (1 << 64) - 1


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """Give (epoch, index) where `DefaultSampler` gives index.

    A persistent worker holds the copy of the data set that it was started with, so the epoch has to travel with each
    index. The seed does not change any more: the data set gets it here, before workers start.

    The images that all ranks show in one step are those that a single process shows in that step with the same global
    batch.

    With `views_per_image` an image is shown so many times in a row, each time augmented anew, so that it is decoded
    once (Hoffer et al. 2020, arXiv 1901.09335: batch augmentation). An epoch has as many samples as before, of a
    part of the images; over `views_per_image` epochs each image has been shown as often and with the same seeds as
    without.

    A run that is resumed within an epoch sets `skip`: so many samples of this rank are passed over, once.

    Raises:
        UserError: `views_per_image` is no integer from 1 on.
    """

    skip = 0

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True,
                 views_per_image: int = 1):
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if type(views_per_image) is not int or views_per_image < 1:
            raise UserError(f"EpochSampler: got views_per_image={views_per_image!r}, expected an integer >= 1")
        self.views = views_per_image
        if self.views > 1:  # every rank shows the same number of whole images
            self.images = math.ceil(len(dataset) / self.views / self.world_size)
            self.num_samples = self.images * self.views
            self.total_size = self.num_samples * self.world_size
        if hasattr(dataset, "set_seed"):
            dataset.set_seed(self.seed)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        skip, self.skip = self.skip, 0
        found = zip(repeat(self.epoch), super().__iter__()) if self.views == 1 else self._views()
        return islice(found, skip, None)

    def _views(self) -> Iterator[tuple[int, int]]:
        """Give (epoch, index) of each view; `epoch` numbers the times that this image has been shown."""
        first = self.epoch - self.epoch % self.views  # of the epochs that share an order
        total = len(self.dataset)
        order = torch.arange(total)
        if self.shuffle:
            order = torch.randperm(total, generator=torch.Generator().manual_seed(self.seed + first))
        count = self.images * self.world_size
        places = (torch.arange(count) + (self.epoch - first) * count) % total  # the last part begins again
        for index in order[places[self.rank :: self.world_size]].tolist():
            for view in range(self.views):
                yield first + view, index


def sample_seed(run_seed: int, epoch: int, index: int) -> int:
    """Hash three integers to the seed of a sample, in [0, 2^63).

    Three rounds of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). A round is a bijection both of its number and of
    the state before it, so until the last bit is dropped, samples that differ in one of the three never share a seed.
    """
    state = 0
    for number in (run_seed, epoch, index):
        state = ((state ^ number) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
