"""Semantic masking: what stays visible is a few contiguous regions of one meaning each, chosen with randomness.

Miao, Luo, Liu and Zhang (IEEE SPL 2024, doi 10.1109/LSP.2024.3458792) find artifacts in the attention of the shallow
blocks when a pretrained MAE is fine-tuned, blame the scattered quarter of an image that the encoder was pretrained on,
and keep "complete and continuous" semantic information visible, with randomness retained. They published neither code
nor, within our reach, an algorithm. What follows is OURS; docs/semantic-masking.md measures it beside simpler masks.

Parts: k-means of the keys of the encoder's last block, image by image. Regions: first-passage percolation (Hammersley
and Welsh, 1965; Eden growth in Richardson's form). Each neighbour j of a reached patch i is reached from it after an
exponential time of rate exp((s_ij - 1) / T), s_ij in [0, 1] the similarity of the two. Since exponential times have no
memory, the next step of the growth crosses edge ij of the frontier with probability in proportion to exp(s_ij / T):
the step that adding Gumbel noise to the scores s_ij / T and taking the largest would choose. But arrival times are
shortest paths, so a whole batch grows at once, without a loop over steps that depends on the image.
"""
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from mimtransfer.training.precision import full_fp32
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, for_each_mask
from pretrain.masking.base import MaskingStrategy
from pretrain.masking.measured import Measured


class RegionMasking(MaskingStrategy):
    """Show regions instead of single patches, and mask and throw the rest at random.

    Args:
        p_random: probability that an image is masked at random instead, in [0, 1].
        random_share: share of the visible patches that is drawn uniformly outside the regions, in [0, 1].
    """

    def __init__(self, mask_ratio: float, throw_ratio: float = 0.0, unit: int = 1, p_random: float = 0.1,
                 random_share: float = 0.1):
        super().__init__(mask_ratio, throw_ratio, unit)
        if not (0 <= p_random <= 1 and 0 <= random_share <= 1):
            raise UserError(f"{type(self).__name__}: got p_random={p_random}, random_share={random_share}; expected "
                            "both in 0 to 1")
        self.p_random, self.random_share = p_random, random_share

    @abstractmethod
    def region_order(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int],
                     generator: SampleGenerator) -> Tensor:
        """Return [B*K, L] int64, the cells of each image in the order in which regions uncover them, for each mask."""

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        cells = self.cells(grid)
        num_cells = cells[0] * cells[1]
        visible, masked, thrown = self.counts(num_cells)
        order = self.region_order(images, record, cells, generator)
        in_region = order[:, : visible - round(self.random_share * visible)]
        by_region = generator.uniform(1) >= self.p_random  # [B, 1]
        # A shuffle of all cells, except that those of the regions come first.
        draw = generator.uniform(num_cells)
        draw = draw.scatter_add(1, in_region, -by_region.float().expand(in_region.shape))
        return TokenLayout(*draw.argsort(1).split([visible, masked, thrown], dim=1)).repeat(self.unit, grid)


@MASKINGS.register_module()
class SemanticMasking(Measured, RegionMasking):
    """Show regions that lie within semantic parts of the image.

    Maps are labels of parts. Without maps, parts and similarities come from the mean colours of the cells.

    Args:
        regions: `grow` grows regions from random seeds, each mostly within its part; `parts` uncovers whole parts in
            random order, the last one up to the wanted number of cells, growing from a random cell of it.
        num_seeds: regions of an image, for `grow`.
        num_parts: parts of an image, at most 2048 (half precision counts so far).
        temperature: T above; at 0.1 a step out of the part is e^10 times rarer than one within.
        max_share: share of the visible cells that one region may fill as long as others can still grow, for `grow`.
    """

    crop_mode = "nearest"

    def __init__(self, mask_ratio: float = 0.75, throw_ratio: float = 0.0, unit: int = 1, regions: str = "grow",
                 num_seeds: int = 4, num_parts: int = 8, temperature: float = 0.1, max_share: float = 0.6, **kwargs):
        super().__init__(mask_ratio, throw_ratio, unit, **kwargs)
        if regions not in ("grow", "parts"):
            raise UserError(f"SemanticMasking: got regions={regions!r}; expected 'grow' or 'parts'")
        if num_seeds < 1 or not 1 <= num_parts <= 2048:
            raise UserError(f"SemanticMasking: got num_seeds={num_seeds}, num_parts={num_parts}; expected one or more "
                            "of both, and at most 2048 parts")
        if temperature < 0.04:
            # e^25: a sum of doubles still tells the steps within a part from one another.
            raise UserError(f"SemanticMasking: got temperature={temperature}; expected 0.04 or more, below that no "
                            "region leaves its part any sooner or later")
        self.regions, self.num_seeds, self.num_parts = regions, num_seeds, num_parts
        self.temperature, self.max_share = temperature, max_share

    def measure(self, block: BlockView) -> Tensor:
        """Return the part of each patch, [B, h, w]: k-means of keys of unit length; see `Measured.measure`."""
        return part_labels(F.normalize(block.keys, dim=-1), self.num_parts).float().view(-1, *block.grid)

    def region_order(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int],
                     generator: SampleGenerator) -> Tensor:
        """Grow the regions; see `RegionMasking.region_order`."""
        num_cells = cells[0] * cells[1]
        visible = self.counts(num_cells).visible
        near = neighbours(cells, images.device)
        labels: Tensor | None
        if self.ready:
            assert record is not None
            labels = self.cropped_maps(record, cells).flatten(1).long()  # [B, L]
            similarity = (labels[:, None] == labels[:, near]).double()  # [B, 4, L]
        else:
            colours = F.adaptive_avg_pool2d(images.float(), cells).flatten(2).transpose(1, 2)  # [B, L, C]
            similarity = colour_similarity(colours, near)
            labels = part_labels(colours, self.num_parts) if self.regions == "parts" else None
        slowness = ((1 - similarity) / self.temperature).exp()  # [B, 4, L]
        passage = generator.exponential(4, num_cells)
        passage = passage * for_each_mask(slowness, len(passage))  # [B*K, 4, L]
        draw = generator.uniform(num_cells)
        steps = max(visible, sum(cells))
        if self.regions == "grow":
            seeds = draw.argsort(1)[:, : self.num_seeds]
            return _capped_order(*arrival(passage, near, seeds, steps), seeds, int(self.max_share * visible))
        assert labels is not None
        labels = for_each_mask(labels, len(draw))
        part = torch.arange(self.num_parts, device=images.device)[:, None]
        # One in each part. For an empty part the best draw of all wins, which is the seed of its own part already.
        seeds = (draw[:, None] + (labels[:, None] == part)).argmax(2)  # [B, parts]
        order = arrival(passage, near, seeds, steps)[0].argsort(1)
        turn = generator.uniform(self.num_parts).gather(1, labels)
        return order.gather(1, turn.gather(1, order).argsort(dim=1, stable=True))


def neighbours(cells: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Return the cells above, below, left and right of each: [4, L] int64; beyond the border a cell itself."""
    h, w = cells
    index = torch.arange(h * w, device=device).view(h, w)
    above = torch.cat([index[:1], index[:-1]])
    below = torch.cat([index[1:], index[-1:]])
    left = torch.cat([index[:, :1], index[:, :-1]], dim=1)
    right = torch.cat([index[:, 1:], index[:, -1:]], dim=1)
    return torch.stack([above, below, left, right]).flatten(1)


def colour_similarity(colours: Tensor, near: Tensor) -> Tensor:
    """Return exp(-d^2 / 2 <d^2>) of the colour distance d to each neighbour, [B, 4, L] float64 in (0, 1].

    The mean runs over the neighbours in one image, as in GrabCut (Rother et al., SIGGRAPH 2004, eq. 5), so that
    contrast and normalisation do not matter.

    Args:
        colours: [B, L, C] float.
        near: [4, L] int64, `neighbours`.
    """
    distance = (colours[:, None] - colours[:, near]).double().square().sum(-1)  # [B, 4, L]
    return (-distance / (2 * distance.mean((1, 2), keepdim=True)).clamp_min(1e-12)).exp()


def arrival(passage: Tensor, near: Tensor, seeds: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return when growth from all seeds reaches each cell, and from which of them.

    Times are lengths of shortest paths of at most `steps` edges, which for the `steps` cells that are reached first are
    the shortest of all. h + w steps reach every cell. Whatever their number, a cell is reached over a neighbour that is
    reached earlier and from the same seed, so what a seed has reached hangs together at any time.

    Args:
        passage: [B, 4, L] > 0, time from each neighbour into the cell.
        near: [4, L] int64, `neighbours`.
        seeds: [B, S] int64.

    Returns:
        [B, L] float64, >= 0, and [B, L] int64, the cell of the seed.
    """
    # Double: behind a step of e^10, float32 could not tell steps of order 1 from one another.
    passage = passage.double()
    time = torch.full_like(passage[:, 0], torch.inf).scatter_(1, seeds, 0.0)
    for _ in range(steps):
        time = torch.minimum(time, (time[:, near] + passage).amin(1))
    via = (time[:, near] + passage).argmin(1, keepdim=True)  # [B, 1, L], which neighbour each cell is reached over
    root = near.expand(len(seeds), -1, -1).gather(1, via)[:, 0].scatter(1, seeds, seeds)
    for _ in range((near.shape[1] - 1).bit_length()):  # each round follows twice as many steps back
        root = root.gather(1, root)
    return time, root


def _capped_order(time: Tensor, root: Tensor, seeds: Tensor, cap: int) -> Tensor:
    """Order cells by time, but the cells of a region beyond its first `cap` only after all others: [B, L]."""
    order = time.argsort(1)
    own = root.gather(1, order)[:, :, None] == seeds[:, None]  # [B, L, S]
    rank = (own.cumsum(1) * own).sum(2)  # 1 = first of its region
    return order.gather(1, (rank > cap).long().argsort(dim=1, stable=True))


def part_labels(features: Tensor, num_parts: int, iterations: int = 10) -> Tensor:
    """Label the patches of each image by k-means (Lloyd's iteration), without randomness.

    The first centre is the patch farthest from the mean of its image, each further one the patch farthest from all
    centres so far. A part that loses all its patches keeps its centre.

    Args:
        features: [B, L, D] float; of unit length for parts of like direction.
        iterations: a fixed number, so that nothing waits for the device.

    Returns:
        [B, L] int64 in [0, num_parts); not every label need occur.
    """
    with torch.autocast(features.device.type, enabled=False), full_fp32():
        features = features.float() - features.float().mean(1, keepdim=True)  # small numbers keep their digits
        centres = _farthest_points(features, num_parts)
        for _ in range(iterations):
            member = _nearest(features, centres)[:, :, None] == torch.arange(num_parts, device=features.device)
            size = member.sum(1)[:, :, None]  # [B, parts, 1]
            mean = member.float().transpose(1, 2) @ features / size.clamp_min(1)
            centres = torch.where(size > 0, mean, centres)
        return _nearest(features, centres)


def _farthest_points(features: Tensor, num_points: int) -> Tensor:
    """Choose patches far from one another: [B, L, D], centred -> [B, points, D]."""
    rows = torch.arange(len(features), device=features.device)
    points = [features[rows, features.square().sum(-1).argmax(1)]]
    distance = (features - points[0][:, None]).square().sum(-1)  # [B, L], to the nearest point
    for _ in range(num_points - 1):
        points.append(features[rows, distance.argmax(1)])
        distance = torch.minimum(distance, (features - points[-1][:, None]).square().sum(-1))
    return torch.stack(points, dim=1)


def _nearest(features: Tensor, centres: Tensor) -> Tensor:
    # |f - c|^2 = |f|^2 - 2 (f c - |c|^2 / 2), and |f|^2 is the same for all centres.
    return (features @ centres.transpose(1, 2) - centres.square().sum(-1)[:, None] / 2).argmax(-1)
