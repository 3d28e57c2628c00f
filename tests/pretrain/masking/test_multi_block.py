"""Multi-block masking: where blocks lie, how large they are, and what is left for the context."""
import pytest
import torch

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.masking.multi_block import MultiBlockMasking

MASKS = 4


def draw(grid, images=400, strategy=None):
    generator = SampleGenerator.from_seed(0, images).spread(MASKS)
    layout = (strategy or MultiBlockMasking())(torch.zeros(images, 3, 1, 1), None, grid, generator)
    return layout._replace(**{role: part.unflatten(0, (images, MASKS)) for role, part in layout._asdict().items()})


def on_grid(patches, grid):
    return torch.zeros(len(patches), grid[0] * grid[1]).scatter(1, patches, 1.0).unflatten(1, grid)


@pytest.mark.parametrize(("grid", "masked", "visible"), [((14, 14), 33, 51), ((16, 16), 43, 67), ((8, 8), 10, 17)])
def test_published_sizes(grid, masked, visible):
    """The released code has 33, 44 and 11 patches in a block, and contexts of 51, 71 and 10, on average."""
    layout = draw(grid)
    assert layout.masked.shape[2] == masked and layout.visible.shape[2] == visible


def test_every_patch_can_be_a_target_and_in_a_context():
    """The middle more often than the border, as blocks lie wholly in the grid; all corners alike."""
    grid, layout = (14, 14), draw((14, 14), images=2000)
    share = on_grid(layout.masked.flatten(0, 1), grid).mean(0)
    corners = share[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert share.min() > 0 and corners.max() < 0.03 < 0.25 < share[6, 6]
    assert (corners - corners.mean()).abs().max() < 0.5 * corners.mean()
    assert on_grid(layout.visible[:, 0], grid).mean(0).min() > 0.04  # the middle, where most targets lie


def test_blocks_are_rectangles_of_the_asked_aspect():
    """Less than a line of patches is cut off of a rectangle, the part of which that the context needs excepted."""
    grid, layout = (14, 14), draw((14, 14))
    blocks = on_grid(layout.masked.flatten(0, 1), grid)
    height, width = blocks.amax(2).sum(1), blocks.amax(1).sum(1)
    assert (height * width - 33 < torch.maximum(height, width)).all()
    aspect = height / width
    assert aspect.min() > 0.6 and aspect.max() < 1.8
    assert {5.0, 6.0, 7.0}.issubset(height.tolist())


def test_the_context_lies_in_its_block_where_there_is_room():
    grid, strategy = (14, 14), MultiBlockMasking(context=(0.36, 0.36), mask_ratio=4 / 196, throw_ratio=0.92)
    visible = on_grid(draw(grid, strategy=strategy).visible[:, 0], grid)
    assert visible.amax(2).sum(1).max() <= 8 and visible.amax(1).sum(1).max() <= 8
    full = on_grid(draw(grid, strategy=MultiBlockMasking(context=(0.01, 0.01))).visible[:, 0], grid)
    assert (full.sum((1, 2)) == 51).all()  # others follow


def test_blocks_leave_what_the_context_needs():
    """Four blocks of half of the grid cover more than that: their patches in the context are no targets."""
    layout = draw((6, 5), strategy=MultiBlockMasking(mask_ratio=0.5, throw_ratio=0.0))
    assert layout.masked.shape[2] == 15 == layout.visible.shape[2]
    everything = torch.cat([layout.visible, layout.masked], dim=2).sort(2).values
    assert (everything == torch.arange(30)).all()


@pytest.mark.parametrize(("options", "said"), [
    (dict(aspect=(1.5, 0.75)), r"MultiBlockMasking: got aspect=\(1.5, 0.75\); expected"),
    (dict(context=(0.9, 1.1)), r"MultiBlockMasking: got context=\(0.9, 1.1\); expected shares of the grid"),
])
def test_impossible_blocks_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        MultiBlockMasking(**options)
