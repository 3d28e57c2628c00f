"""I-JEPA: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", CVPR
2023, arXiv 2301.08243.

Same weights, images and blocks give the loss of the released code (facebookresearch/ijepa) to rounding. The encoder
that is transferred is the teacher, as in the paper (sec. 4); the one that is trained is `student_encoder`.

The blocks of an image are its masks: with `MultiBlockMasking` a row of the layout holds one target block, and the rows
of an image share what is visible, the context, which is encoded once. Any other strategy works as well, with a context
for each mask. Departures of the blocks are listed in `pretrain/masking/multi_block.py`.
"""
import torch
import torch.nn.functional as F
from mmengine.model import trunc_normal_init
from torch import Tensor, nn

from mimtransfer.backbones.inspect import BlockView, view_block
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, for_each_mask, take
from pretrain.methods.decoder import PixelDecoder
from pretrain.methods.teacher import LatentPrediction, Latents, spread_of


@MODELS.register_module()
class IJEPA(LatentPrediction):
    """Predict the teacher's tokens of each target block from the student's tokens of the context.

    Args:
        encoder: see `MIMethod`; the authors' has no class token: `model_kwargs=dict(class_token=False)`.
        strategy: see `MIMethod`; `MultiBlockMasking` when not given.
        predictor: `embed_dim`, `depth` and `num_heads` of a narrow ViT; the authors': width 384, 6 blocks for ViT-B,
            12 for larger ones, and as many heads as the encoder.
        masks_per_image: target blocks of an image.
        momentum, momentum_end: see `LatentPrediction`.
        **kwargs: of `MIMethod`.
    """

    transfers = "teacher"

    def __init__(self, encoder: dict, strategy: dict | None = None, predictor: dict | None = None,
                 masks_per_image: int = 4, momentum: tuple[float, float] = (0.996, 1.0), momentum_end: float = 1.0,
                 **kwargs):
        super().__init__(encoder, strategy or dict(type="MultiBlockMasking"), momentum, momentum_end,
                         masks_per_image=masks_per_image, **kwargs)
        shape = dict(embed_dim=384, depth=6, num_heads=self.encoder.blocks[0].attn.num_heads) | (predictor or {})
        self.predictor = PixelDecoder(self.encoder, num_values=self.encoder.embed_dim, **shape)
        self.reset_parameters()
        self.copy_student()

    def loss(self, images: Tensor, drawn: TokenLayout | Latents) -> dict[str, Tensor]:
        """Return the smooth L1 distance to the teacher's normalised tokens of the target blocks, mean over all values.

        Args:
            images: [B, C, H, W] float, normalised.
            drawn: roles of the patches, B*K rows; with the targets where they were needed for the roles.
        """
        layout, targets = self.layout_and_targets(images, drawn)
        # Equal counts, so the mean over all values is the mean over blocks. In fp32 under autocast, too.
        loss = F.smooth_l1_loss(self.predict(images, layout).float(), take(targets, layout.masked))
        return {"loss": loss, "target_std": spread_of(targets)}

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the predicted tokens of the masked patches, [B*K, M, D]."""
        context = for_each_mask(self.encode_visible(images, layout), len(layout.masked))
        return self.predictor(context, layout, self.encoder.patch_grid(images))

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """Return the teacher's tokens of whole images, each normalised over its width: [B, L, D] float32."""
        teacher, grid = self.teacher, self.teacher.patch_grid(images)
        tokens = teacher.encode(teacher.add_position(teacher.embed(images), grid), grid)
        return self._normalised(tokens)

    def look(self, images: Tensor) -> tuple[Tensor, BlockView]:
        """Return the targets, and the last block; see `LatentPrediction.look`."""
        block = view_block(self.teacher, images)
        return self._normalised(self.teacher.norm(block.output)), block

    def _normalised(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens[:, self.teacher.num_prefix_tokens :].float(), tokens.shape[-1:])

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as the released code: weights and mask token normal with 0.02, biases at 0."""
        for part in (self.student, self.predictor):
            for module in part.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    trunc_normal_init(module, std=0.02)  # cut at 100 std
        for token in (self.predictor.mask_token, self.student.cls_token, self.student.reg_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)
