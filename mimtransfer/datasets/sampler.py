"""The order of the images, the way of the epoch to the workers, and the seed of a sample."""
from collections.abc import Iterator, Sized
from itertools import islice, repeat

from mmengine.dataset import DefaultSampler

from mimtransfer.registry import DATA_SAMPLERS

_MASK = (1 << 64) - 1


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """Give (epoch, index) where `DefaultSampler` gives index.

    A persistent worker holds the copy of the data set that it was started with, so the epoch has to travel with each
    index. The seed does not change any more: the data set gets it here, before workers start.

    The images that all ranks show in one step are those that a single process shows in that step with the same global
    batch.

    A run that is resumed within an epoch sets `skip`: so many images of this rank are passed over, once.
    """

    skip = 0

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True):
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=round_up)
        if hasattr(dataset, "set_seed"):
            dataset.set_seed(self.seed)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        skip, self.skip = self.skip, 0
        return islice(zip(repeat(self.epoch), super().__iter__()), skip, None)


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
