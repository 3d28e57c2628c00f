"""Cascade Mask R-CNN with the stages of detectron2's, with which ViTDet's numbers were made.

Cascade R-CNN (Cai & Vasconcelos, CVPR 2018, arXiv 1712.00726). What mmdet's `CascadeRoIHead` does otherwise: it has a
mask head for each stage, trained on the boxes of that stage, and averages their masks; ground truth is left out of the
boxes that a stage passes on; it averages logits over the stages, not probabilities; and gradients reach the pyramid in
full (there the weights of the stages' losses are 1, 0.5, 0.25; here give 1, 1, 1, and later stages a `PseudoSampler`).

Configs import this module by `custom_imports`: it needs mmdet.
"""
import torch
from mmdet.models.roi_heads import CascadeRoIHead
from torch import Tensor, nn

from mimtransfer.registry import MODELS


@MODELS.register_module()
class DetectronCascadeRoIHead(CascadeRoIHead):
    """Refine boxes in stages, predict masks once; arguments of mmdet's `CascadeRoIHead`, with one `mask_head`."""

    num_stages: int

    def init_mask_head(self, mask_roi_extractor: dict, mask_head: dict) -> None:
        """Build one mask head, which sees the boxes of the first stage in training and the last ones in testing."""
        self.share_roi_extractor = False
        self.mask_roi_extractor = nn.ModuleList([MODELS.build(mask_roi_extractor)])
        self.mask_head = nn.ModuleList([MODELS.build(mask_head)])

    def _bbox_forward(self, stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        extractor = self.bbox_roi_extractor[stage]
        features = extractor(x[: extractor.num_inputs], rois)
        if features.requires_grad:
            # All stages together pull at the pyramid as one head does; the heads learn at the full rate.
            features.register_hook(lambda grad: grad / self.num_stages)
        cls_score, bbox_pred = self.bbox_head[stage](features)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=features)

    def bbox_loss(self, stage: int, x: tuple[Tensor, ...], sampling_results: list) -> dict:
        """As mmdet's; boxes that are ground truth are refined like the others and go to the next stage."""
        results = super().bbox_loss(stage, x, sampling_results)
        for sampled in sampling_results:
            sampled.pos_is_gt = torch.zeros_like(sampled.pos_is_gt)
        return results

    def mask_loss(self, stage: int, x: tuple[Tensor, ...], sampling_results: list, batch_gt_instances: list) -> dict:
        """Return the loss of the masks in the first stage, none in the others."""
        return super().mask_loss(0, x, sampling_results, batch_gt_instances) if stage == 0 else dict(loss_mask={})

    def _refine_roi(self, x, rois, batch_img_metas, num_proposals_per_img, **kwargs) -> tuple:
        scores, forward = [], self._bbox_forward

        def keep_scores(**call) -> dict:
            results = forward(**call)
            scores.append(self._probabilities(call["stage"], results["cls_score"]))
            return results

        self.__dict__["_bbox_forward"] = keep_scores  # hides the method until it is deleted
        try:
            rois, _, bbox_preds = super()._refine_roi(x, rois, batch_img_metas, num_proposals_per_img, **kwargs)
        finally:
            del self._bbox_forward
        mean = torch.stack(scores).sum(0) / len(scores)
        # What gives these probabilities again when the last head makes probabilities of it.
        logits = mean.logit() if self.bbox_head[-1].custom_activation else mean.log()
        return rois, logits.split(num_proposals_per_img, 0), bbox_preds

    def _probabilities(self, stage: int, logits: Tensor) -> Tensor:
        head = self.bbox_head[stage]
        return head.loss_cls.get_activation(logits) if head.custom_activation else logits.float().softmax(-1)

    def predict_mask(self, *args, **kwargs) -> list:
        """As mmdet's with one stage."""
        num_stages, self.num_stages = self.num_stages, 1
        try:
            return super().predict_mask(*args, **kwargs)
        finally:
            self.num_stages = num_stages
