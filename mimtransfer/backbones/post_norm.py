"""PostNormBlock: a transformer block whose norms lie behind the sums (Vaswani et al. 2017, arXiv 1706.03762), as in
data2vec 2.0 (Baevski et al. 2023, arXiv 2212.07525). Names of parameters are those of timm's Block.
"""
from timm.models.eva import EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimtransfer.backbones.rotary import add_branches
from mimtransfer.errors import UserError


class PostNormBlock(Block):
    """timm's Block with the norm after each sum.

    Args:
        block: the block whose submodules are taken over; it must not be used afterwards.

    Raises:
        UserError: it is not timm's plain Block.
    """

    def __init__(self, block: Block) -> None:
        if type(block) is not Block:
            raise UserError(f"post_norm of TimmViT needs timm's plain Block, got {type(block).__name__}: take another "
                            "arch, e.g. 'vit_base_patch16_224', without window_size and rel_pos")
        nn.Module.__init__(self)
        vars(self).update(vars(block))

    def forward(  # type: ignore[override]  # TimmViT alone calls it
        self, x: Tensor
    ) -> Tensor:
        """Transform tokens, [B, N, D] -> [B, N, D]."""
        return forward_block(self, x)[0]


def forward_block(block: Block | EvaBlock, x: Tensor, rope: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a plain, a post-norm or an Eva's block: return its output and what its feed-forward network adds, [B, N, D]
    each.

    Args:
        block: one of these.
        x: [B, N, D] tokens.
        rope: rotary positions of an `EvaBlock`, see `rotary_tables`.
    """
    if type(block) is EvaBlock:
        return add_branches(block, x, block.attn(block.norm1(x), rope=rope))
    if type(block) is PostNormBlock:
        x = block.norm1(x + block.drop_path1(block.ls1(block.attn(x))))
        added = block.mlp(x)
        return block.norm2(x + block.drop_path2(block.ls2(added))), added
    assert type(block) is Block, "others add something else"
    x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x))))
    added = block.mlp(block.norm2(x))
    return x + block.drop_path2(block.ls2(added)), added
