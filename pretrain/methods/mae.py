"""MAE: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377.

Same weights, image and mask give the loss of the official code (facebookresearch/mae) to rounding. Departures, none of
which changes the loss: the decoder keeps the drawing order and predicts masked patches only (see
`decoder.py`); patches can be thrown, which MAE does not do: they are in no sequence and no loss (AMT, arXiv
2211.15362, sec. 3). With `decoder=dict(type='CrossDecoder')` it is CrossMAE, see `cross_decoder.py`.
"""
import torch
from mmengine.model import xavier_init
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, take
from pretrain.methods.base import MIMethod
from pretrain.patches import patch_statistics, patchify, unpatchify


@MODELS.register_module()
class MAE(MIMethod):
    """Encode visible patches, decode masked ones, compare pixels.

    Args:
        encoder: see `MIMethod`.
        strategy: see `MIMethod`; random masking of 3 of 4 patches when not given.
        decoder: config of the decoder: a `PixelDecoder`, which needs no `type`, or a `CrossDecoder`.
        norm_pix_loss: normalise each target patch by its own mean and std (sec. 4.1). Official code: off by
            default, on in its recipes.
        **kwargs: of `MIMethod`.

    Raises:
        UserError: an encoder that cannot work on a subset of the patches; a decoder that is to predict more patches
            than are masked.
    """

    def __init__(
        self,
        encoder: dict,
        strategy: dict | None = None,
        decoder: dict | None = None,
        norm_pix_loss: bool = True,
        **kwargs,
    ):
        super().__init__(encoder, {"type": "RandomMasking"} if strategy is None else strategy, **kwargs)
        if getattr(self.encoder, "needs_every_patch", False):
            raise UserError(f"MAE: its encoder sees visible patches only, which {type(self.encoder).__name__} cannot; "
                            "choose TimmViT, or a method that hides no patch from the encoder (SimMIM, MFM)")
        ph, pw = self.encoder.patch_size
        self.decoder = MODELS.build(
            {"type": "PixelDecoder", **(decoder or {})},
            default_args={"encoder": self.encoder, "num_values": ph * pw * self.in_chans},
        )
        self._check_predicted()
        if self.decoder.reads_blocks:
            # Nothing passes it. With its initial values it stays in checkpoints, for transfer to begin with.
            self.encoder.norm.requires_grad_(False)
        self.norm_pix_loss = norm_pix_loss
        self.reset_parameters()

    def draw_layout(self, images: Tensor, record: AugRecord | None, num_masks: int = 1) -> TokenLayout:
        """Let the strategy decide, then throw the masked patches that the decoder is not to predict: in MAE a patch
        that is neither seen nor predicted is one that is thrown.
        """
        layout = super().draw_layout(images, record, num_masks)
        ratio = self.decoder.predict_ratio
        if ratio is None:
            return layout
        self._check_predicted()
        num_patches, num_masked = sum(part.shape[1] for part in layout), layout.masked.shape[1]
        # As `MaskingStrategy.counts`; cells of several patches may mask fewer than their ratio says.
        num_predicted = min(int(num_patches * ratio + 1e-9), num_masked)
        # The order of the masked patches is that of the strategy's draws, where the heaviest come first.
        order = self.generator(images, record).spread(num_masks).fork(1).uniform(num_masked).argsort(1)
        predicted, rest = layout.masked.gather(1, order).tensor_split([num_predicted], dim=1)
        return layout._replace(masked=predicted, thrown=torch.cat([layout.thrown, rest], dim=1))

    def _check_predicted(self) -> None:
        """Refuse a `predict_ratio` above the share that is masked; phases change the latter."""
        ratio = self.decoder.predict_ratio or 0
        for strategy in filter(None, (self.strategy, getattr(self.strategy, "warmup", None))):
            if ratio > strategy.mask_ratio:
                raise UserError(f"MAE: got predict_ratio={ratio} of the decoder and mask_ratio={strategy.mask_ratio} "
                                f"of {type(strategy).__name__}; both are shares of all patches, and only masked ones "
                                "can be predicted: expected predict_ratio <= mask_ratio")

    def loss(self, images: Tensor, layout: TokenLayout) -> dict[str, Tensor]:
        """Return the mean squared error over the pixels of masked patches.

        Args:
            images: [B, C, H, W] float, normalised.
            layout: roles of the patches.
        """
        if layout.masked.shape[1] == 0:
            raise UserError(
                f"MAE: nothing to predict, got mask_ratio={self.strategy.mask_ratio} and predict_ratio="
                f"{self.decoder.predict_ratio}; expected at least one masked patch"
            )
        target = self.target(images, layout)  # before the prediction: what it is made of is not held beside activations
        # Equal counts, so the mean over all values is the mean over masked patches. In fp32 under autocast, too.
        return {"loss": (self.predict(images, layout).float() - target).square().mean()}

    def target(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the (normalised) pixels of the masked patches, [B*K, M, p*p*C]."""
        rows = patchify(images, self.encoder.patch_size)  # [B, L, p*p*C]
        if not self.norm_pix_loss:
            return take(rows, layout.masked)
        if len(layout.masked) == len(rows):
            return _normalise(take(rows, layout.masked))
        return take(_normalise(rows), layout.masked)  # each patch once, though several masks hide it

    def predict(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the predicted (normalised) pixels of the masked patches, [B*K, M, p*p*C]."""
        grid = self.encoder.patch_grid(images)
        tokens = self.encoder.add_position(self.encoder.embed(images), grid)  # [B, L, D]
        encode = self.encoder.encode_blocks if self.decoder.reads_blocks else self.encoder.encode
        return self.decoder(encode(take(tokens, layout.visible), grid, layout.visible), layout, grid)

    def reconstruct(self, images: Tensor, layout: TokenLayout) -> Tensor:
        """Return the pictures with masked patches predicted and un-normalised by their own statistics, thrown ones at
        0 (mean colour).
        """
        rows = patchify(images, self.encoder.patch_size).clone()
        pred = self.predict(images, layout).to(rows.dtype)
        if self.norm_pix_loss:
            mean, std = patch_statistics(take(rows, layout.masked))
            pred = pred * std + mean
        rows.scatter_(1, layout.masked.unsqueeze(-1).expand_as(pred), pred)
        rows.scatter_(1, layout.thrown.unsqueeze(-1).expand(-1, -1, rows.shape[-1]), 0.0)
        return unpatchify(rows, self.encoder.patch_size, self.encoder.patch_grid(images))

    def reset_parameters(self) -> None:
        """Initialise as the official code: Xavier-uniform linear layers, the patch projection seen as one, tokens
        normal with 0.02.
        """
        self.apply(_init_linear)
        # As a [D, C*p*p] matrix; on the 4-d kernel, PyTorch would count the fan differently.
        nn.init.xavier_uniform_(self.encoder.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.decoder.mask_token, std=0.02)
        for token in (getattr(self.encoder, "cls_token", None), getattr(self.encoder, "reg_token", None)):
            if token is not None:
                nn.init.normal_(token, std=0.02)


def _normalise(rows: Tensor) -> Tensor:
    mean, std = patch_statistics(rows)
    return (rows - mean) / std


@torch.no_grad()
def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        xavier_init(module, distribution="uniform")
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()
