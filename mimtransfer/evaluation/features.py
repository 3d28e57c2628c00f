"""FrozenFeatures: a backbone that nobody trains, and one vector for each image."""
from mmengine.model import BaseModel
from torch import Tensor

from mimtransfer.evaluation.pooling import check_pooling, pool
from mimtransfer.registry import MODELS


@MODELS.register_module()
class FrozenFeatures(BaseModel):
    """Describe each image by one vector of the backbone.

    Args:
        backbone: config of a backbone; `init_cfg=dict(type='Pretrained', checkpoint=...)` is set by `--pretrained`.
        pooling: 'mean' of the patch tokens of the last map, or the 'class' token; after the final norm.
        data_preprocessor: config of mmengine's preprocessor, which normalises on the device.
        init_cfg: of mmengine.

    Raises:
        UserError: a pooling that there is not, or the class token of a backbone without one.
    """

    def __init__(
        self,
        backbone: dict,
        pooling: str = "mean",
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        check_pooling(self.backbone, pooling, "FrozenFeatures")
        self.pooling = pooling

    def forward(
        self, inputs: Tensor, label: Tensor | None = None, data_samples: None = None, mode: str = "tensor"
    ) -> Tensor:
        """Return features [B, D] of images [B, C, H, W]; the labels are not looked at.

        `mode` is mmengine's; there is no loss.
        """
        if mode == "loss":
            raise ValueError("FrozenFeatures has no loss: nothing is trained")
        return pool(self.backbone, inputs, self.pooling)
