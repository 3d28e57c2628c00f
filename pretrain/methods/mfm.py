"""MFM: Xie et al., "Masked Frequency Modeling for Self-Supervised Visual Pre-Training", ICLR 2023, arXiv 2206.07706.

The encoder sees the whole image without some of its frequencies and predicts those. Super-resolution, deblurring and
denoising (sec. 3.4) are the same with another corruption, and all frequencies are predicted.

Same weights, image and filter give the corrupted image and the loss of the official code (Jiahao000/MFM) to rounding.
Departures: images are filtered on the device, in batches, with half the spectrum, and each sample's draw follows from
its seed; there the loader draws a mask of int64 for each image, and degradations take Python's generator, whose seeding
is commented out. A ViT has a bias for keys, which does not change attention. No deeper decoder (0 blocks published).

Questionable in the released code, and what to do about it:
- it clamps filtered images, see `FrequencyMasking`: `clamp=False`;
- it pools the loss over the batch, where low-pass samples drown high-pass ones, see `FrequencyLoss`:
  `normalise='sample'`;
- the target is normalised with the std of each channel, so channels weigh as 1 / std in the loss; left so;
- it makes images small without a filter, see `SuperResolution`: `antialias=True`.
"""
import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS, MODELS
from pretrain.aug_record import AugRecord
from pretrain.corruptions.base import Corrupted
from pretrain.methods.base import MIMethod, init_plain_vit
from pretrain.methods.frequency_loss import FrequencyLoss
from pretrain.methods.preprocessor import unit_statistics


@MODELS.register_module()
class MFM(MIMethod):
    """Restore corrupted images with one linear layer for each output token, compare spectra.

    Args:
        encoder: see `MIMethod`; any backbone whose last map has the stride `patch_size`: plain ViT, Swin, CNN.
        corruption: config of a corruption; when not given, frequency masking as published.
        frequency_loss: arguments of `FrequencyLoss`.
        strategy: there is none.
        **kwargs: of `MIMethod`; `data_preprocessor` must normalise, for images are filtered in [0, 1].

    Raises:
        UserError: a masking strategy; a preprocessor that does not normalise; patches that are not square; from the
            first step, an image size that does not fit.
    """

    encodes_tokens = False
    compiled_part = "predict"  # inductor makes no kernels of complex numbers, which the loss's spectra are

    def __init__(
        self,
        encoder: dict,
        corruption: dict | None = None,
        frequency_loss: dict | None = None,
        strategy: None = None,
        **kwargs,
    ):
        if strategy is not None:
            raise UserError(
                f"MFM: got strategy={strategy.get('type')}, but it hides frequencies and no patches; expected "
                "strategy=None, and corruption=dict(type='FrequencyMasking') or another corruption"
            )
        super().__init__(encoder, **kwargs)
        if not hasattr(self.data_preprocessor, "mean"):
            raise UserError(
                "MFM: got a data_preprocessor without mean and std; expected dict(type='ImgDataPreprocessor', "
                "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]): images are filtered before they are "
                "normalised"
            )
        stride, other = self.encoder.patch_size
        if stride != other:
            raise UserError(f"MFM: got patches of {stride} x {other} pixels; expected square ones")
        self.corruption = CORRUPTIONS.build(corruption or dict(type="FrequencyMasking"))
        self.frequency_loss = FrequencyLoss(**(frequency_loss or {}))
        # Initialised as PyTorch does, as the official code.
        values = self.in_chans * stride**2
        self.head = nn.Sequential(nn.Conv2d(self.encoder.embed_dim, values, 1), nn.PixelShuffle(stride))
        if isinstance(self.encoder, TimmViT):
            init_plain_vit(self.encoder)

    @torch.no_grad()
    def draw_layout(self, images: Tensor, record: AugRecord | None, num_masks: int = 1) -> Corrupted:
        """Corrupt the images instead of hiding patches; in float32, also under autocast (float64 for float64)."""
        self.check_image_size(images)
        shift, scale = unit_statistics(self.data_preprocessor)  # [C, 1, 1] each
        with torch.autocast(images.device.type, enabled=False):
            wide = images.to(torch.promote_types(images.dtype, torch.float32))
            pixels = torch.addcmul(shift, wide, scale).clamp_(0, 1)  # rounding may leave the range
            corrupted, kept = self.corruption(pixels, self.generator(images, record))
            return Corrupted(corrupted.sub_(shift).div_(scale), kept)

    def loss(self, images: Tensor, drawn: Corrupted) -> dict[str, Tensor]:
        """Return the distance of the spectra of prediction and original, and for the log what it is without a model.

        `zero_level` is the loss of a prediction that is 0 in all bins. Where bins count that the encoder was given,
        `copy_level` is that of its input, unchanged.

        Args:
            images: [B, C, H, W] float, normalised.
            drawn: what the encoder is given.
        """
        # Before the prediction: what they need is given back before activations are kept. Only a loss is trained.
        levels = self._levels(images, drawn)
        return {"loss": self.frequency_loss(self.predict(drawn.images), images, drawn.kept), **levels}

    @torch.no_grad()
    def _levels(self, images: Tensor, drawn: Corrupted) -> dict[str, Tensor]:
        levels = {"zero_level": self.frequency_loss.zero_level(images, drawn.kept)}
        if drawn.kept is None or self.frequency_loss.bins == "all":
            levels["copy_level"] = self.frequency_loss(drawn.images, images, drawn.kept)
        return levels

    def predict(self, images: Tensor) -> Tensor:
        """Restore corrupted images, [B, C, H, W] -> same; nothing trains the frequencies that are not in the loss."""
        return self.head(self.encoder(images)[-1])

    def reconstruct(self, images: Tensor, drawn: Corrupted) -> Tensor:
        """Return the prediction, with those frequencies of the original that are not predicted."""
        restored = self.predict(drawn.images).float()
        if drawn.kept is None or self.frequency_loss.bins == "all":
            return restored
        spectrum = torch.where(drawn.kept[:, None], torch.fft.rfft2(images.float()), torch.fft.rfft2(restored))
        return torch.fft.irfft2(spectrum, s=images.shape[-2:])
