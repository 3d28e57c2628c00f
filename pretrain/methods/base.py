"""What every method shares: encoder, strategy, and the way from a batch to a loss; and how the official codes of BEiT,
SimMIM and MFM initialise a plain ViT.
"""
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.channels import RGB
from mimtransfer.datasets.collate import order_channels
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS, MODELS
from mimtransfer.training.compilation import INDUCTOR, compile_part
from pretrain.aug_record import AugRecord, StoredRecord, send
from pretrain.data.on_device import finish_crops


class MIMethod(BaseModel):
    """A pretraining method: an encoder that becomes the backbone, and a loss.

    Args:
        encoder: config of the encoder, e.g. `dict(type='TimmViT', arch='vit_base_patch16_224')`. Its weights are
            exported as they are.
        strategy: config of a masking strategy, or None for a method that masks no patches.
        data_preprocessor: config of mmengine's preprocessor, which normalises on the device.
        masks_per_image: layouts that a training step draws for each image, K; the image is decoded, augmented and
            embedded once, and the loss is the mean over its masks. Batch, lr and epochs count images. Pictures show the
            first mask, which is the one that K = 1 draws. For several *views* of an image see `EpochSampler`.
        compile_loss: compile training steps with `torch.compile`: True, or the name of a backend other than inductor.
            Shapes are static, so it compiles once, and once more when maps begin.
        init_cfg: of mmengine.

    Attributes:
        in_chans: channels of the images, those of the encoder.
        encodes_tokens: patches are hidden, so the method runs `encode` on tokens, and not the encoder on whole images.
        has_teacher: it can hand maps of each batch to a strategy, see `pretrain/methods/teacher.py`.
        compiled_part: name of the method that `compile_loss` compiles; it must be one graph.

    Raises:
        UserError: a plain ViT without positions, or with options that only whole images can have; `masks_per_image` is
            no integer from 1 on, or above 1 without a strategy.
    """

    encodes_tokens = True
    has_teacher = False
    compiled_part = "loss"
    data_preprocessor: Any  # of mmengine; it has `mean` and `std` where it normalises

    def __init__(
        self,
        encoder: dict,
        strategy: dict | None = None,
        data_preprocessor: dict | None = None,
        compile_loss: bool | str = False,
        init_cfg: dict | None = None,
        masks_per_image: int = 1,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.masks_per_image = masks_per_image
        self._check_masks()
        self.encoder = MODELS.build(encoder)
        self.in_chans: int = getattr(self.encoder, "in_chans", RGB)
        self._check_preprocessor()
        if isinstance(self.encoder, TimmViT):
            self._check_positions()
        self.strategy: Any = None if strategy is None else MASKINGS.build(strategy)
        self._check_source()
        if compile_loss:
            compile_part(self, self, self.compiled_part, INDUCTOR if compile_loss is True else compile_loss)
        self.data_preprocessor.register_forward_pre_hook(self._before_transfer, with_kwargs=True)
        self.data_preprocessor.register_forward_pre_hook(finish_crops)
        self.data_preprocessor.register_forward_pre_hook(order_channels)

    def _before_transfer(self, preprocessor: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Look up what is stored for the images of a training batch while their numbers are still on the host."""
        batch, training = args[0], args[1] if len(args) > 1 else kwargs.get("training", False)
        record = batch.get("record") if training and isinstance(batch, Mapping) else None
        if not isinstance(record, AugRecord) or record.index.device.type != "cpu":
            return None
        maps = None if self.strategy is None else self.strategy.look_up(record.index)
        ids = self.stored_ids(record)
        if maps is None and ids is None:
            return None
        device = getattr(preprocessor, "device", "cpu")
        maps, ids = (None if rows is None else send(rows, device) for rows in (maps, ids))
        return ({**batch, "record": StoredRecord(*record, maps=maps, ids=ids)}, *args[1:]), kwargs

    def stored_ids(self, record: AugRecord) -> Tensor | None:
        """Return the codes that are stored for a batch, [B, h, w] int64, of a record on the CPU; None: there are
        none.
        """
        return None

    def _check_preprocessor(self) -> None:
        channels = len(getattr(self.data_preprocessor, "mean", ())) or self.in_chans
        if channels not in (1, self.in_chans):
            raise UserError(f"{type(self).__name__}: data_preprocessor has mean and std of {channels} channels, the "
                            f"encoder takes in_chans={self.in_chans}; expected the same number")

    def _check_masks(self) -> None:
        name, masks = type(self).__name__, self.masks_per_image
        if type(masks) is not int or masks < 1:
            raise UserError(f"{name}: got masks_per_image={masks!r}; expected an integer >= 1")
        if masks > 1 and not self.encodes_tokens:
            raise UserError(f"{name}: got masks_per_image={masks}, but it masks no patches; leave masks_per_image out "
                            "(train_dataloader.sampler.views_per_image shows several views of an image)")

    def _check_source(self) -> None:
        if getattr(self.strategy, "source", "bank") == "teacher" and not self.has_teacher:
            raise UserError(f"{type(self).__name__}: got a strategy with source='teacher', but it has no teacher; "
                            "leave source out and add MapBankHook, or choose a method with one (IJEPA, Data2Vec2)")

    def _check_positions(self) -> None:
        name, encoder = type(self).__name__, self.encoder
        if encoder.pos_embed is None and encoder.rel_pos is None and encoder.rope is None:
            raise UserError(f"{name}: got an encoder without positions, to which all masked patches of an image are "
                            "the same; expected pos_embed='sincos' or 'learned', a rotary arch, or rel_pos='bias'")
        if self.encodes_tokens and encoder.drops_prefix:
            raise UserError(f"{name}: got an encoder with windows or rel_pos='decomposed', which are for transfer; "
                            "expected neither (rel_pos='bias' works), and add them in the config of the transfer")

    def forward(self, inputs: Tensor, record: AugRecord | None = None, data_samples: None = None, mode: str = "loss"):
        """Draw a layout, then compute losses or reconstructions.

        Args:
            inputs: [B, C, H, W] float, normalised by the preprocessor.
            record: where the crops came from; without one the draws are the same at every call.
            data_samples: what mmengine's preprocessor adds; not used.
            mode: `loss` returns a dict of losses; `predict` returns `(layout, reconstruction)`, the latter as
                from `reconstruct`. A method without layouts has what it drew in the layout's place.

        Raises:
            UserError: the image size is not a multiple of the patch size.
        """
        layout = self.draw_layout(inputs, record, self.masks_per_image if mode == "loss" else 1)
        if mode == "loss":
            return self.loss(inputs, layout)
        if mode == "predict":
            return layout, self.reconstruct(inputs, layout)
        raise ValueError(f"{type(self).__name__}.forward: got mode={mode!r}; expected 'loss' or 'predict'")

    def draw_layout(self, images: Tensor, record: AugRecord | None, num_masks: int = 1) -> Any:
        """Let the strategy decide: a `TokenLayout`, or None without a strategy. What `loss` and `reconstruct` get.

        Args:
            num_masks: layouts of each image, K; the layout has B*K rows.
        """
        self.check_image_size(images)
        if self.strategy is None:
            return None
        generator = self.generator(images, record).spread(num_masks)
        with torch.no_grad():
            return self.strategy(images, record, self.encoder.patch_grid(images), generator)

    def generator(self, images: Tensor, record: AugRecord | None) -> SampleGenerator:
        """Return the random numbers of these samples."""
        if record is None:
            return SampleGenerator.from_seed(0, len(images), images.device)
        return SampleGenerator(record.seed)

    def check_image_size(self, images: Tensor) -> None:
        """Refuse images that patches do not tile: padding would be predicted as if it were picture."""
        (height, width), (ph, pw) = images.shape[-2:], self.encoder.patch_size
        if height % ph or width % pw:
            raise UserError(
                f"{type(self).__name__}: got images of {height} x {width} pixels and patches of {ph} x {pw}; expected "
                f"a multiple: set the crop size to {round(height / ph) * ph or ph} x {round(width / pw) * pw or pw}"
            )

    @abstractmethod
    def loss(self, images: Tensor, layout: Any) -> dict[str, Tensor]:
        """Compute the losses; names that contain `loss` are added up, others are logged.

        Args:
            images: [B, C, H, W] float, normalised.
            layout: what was drawn, B*K rows.
        """

    @abstractmethod
    def reconstruct(self, images: Tensor, layout: Any) -> Tensor:
        """Return [B, C, H, W], in the normalised space of the input, for pictures: predictions where the method
        predicts, the input elsewhere. The layout has one mask of each image.
        """


@torch.no_grad()
def init_plain_vit(encoder: nn.Module) -> None:
    """Initialise a `TimmViT`: weights, tokens and positions truncated normal, std 0.02, cut at one std; biases and
    relative positions at 0.
    """
    for name, parameter in encoder.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1 and parameter.requires_grad:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.02, b=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    # The deeper a block, the less its branches add at first.
    blocks: Any = encoder.blocks
    for i, block in enumerate(blocks, start=1):
        block.attn.proj.weight.div_(math.sqrt(2 * i))
        block.mlp.fc2.weight.div_(math.sqrt(2 * i))
