"""What backbones share: loading the checkpoint that `init_cfg` names, with its report."""
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmengine.model import BaseModule

if TYPE_CHECKING:
    from mimtransfer.checkpoints.load import LoadReport


class PretrainedBackbone(BaseModule):
    """A backbone whose `init_cfg=dict(type='Pretrained', checkpoint=PATH)` loads a pretraining checkpoint wholly.

    Attributes:
        load_report: `LoadReport` of that checkpoint; None before, or without one.
        frozen: nothing of it is trained, so nothing makes up for what it lacks of the checkpoint. Set by models that
            read its features; frozen blocks (`frozen_stages`) are seen without.
    """

    init_cfg: Any  # of mmengine
    load_report: "LoadReport | None" = None
    frozen = False

    def init_weights(self) -> None:
        """Load the checkpoint that `init_cfg` names, else keep the constructor's initialisation."""
        configs = [self.init_cfg] if isinstance(self.init_cfg, dict) else list(self.init_cfg or [])
        pretrained = [config for config in configs if config["type"] == "Pretrained"]
        init_cfg, self.init_cfg = self.init_cfg, [config for config in configs if config["type"] != "Pretrained"]
        first_time = not self.is_init
        super().init_weights()
        self.init_cfg = init_cfg
        if pretrained and first_time:
            from mimtransfer.checkpoints.load import load_backbone  # pretraining from scratch needs none of it

            blocks: Any = getattr(self, "blocks", self)
            frozen = self.frozen or not any(parameter.requires_grad for parameter in blocks.parameters())
            self.load_report = report = load_backbone(self, pretrained[-1]["checkpoint"], same_features=frozen)
            print_log(report.summary(), logger="current")
