"""Classifier: timm's own classifiers, losses and mixing on the same weights and draws."""
import random
from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS

VIT = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
           model_kwargs=dict(embed_dim=24, depth=2, num_heads=2))
SWIN = dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=64, window_size=4,
            model_kwargs=dict(embed_dim=24, depths=(1, 1), num_heads=(1, 2)))
CNN = dict(type="TimmCNN", arch="resnet18", model_kwargs=dict(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16)))


def build(backbone=VIT, **options):
    init_default_scope("mimtransfer")
    torch.manual_seed(0)
    return MODELS.build(dict(type="mimtransfer.Classifier", backbone=backbone, num_classes=7, head_std=0.5) | options)


def timm_names(model):
    """Return our weights by timm's names: the norm is `fc_norm` when it comes after the pooling."""
    state = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
    return {name.replace("norm.", "fc_norm.", 1) if name in ("norm.weight", "norm.bias") else name: value
            for name, value in state.items()}


@pytest.mark.parametrize(("options", "pool", "fc_norm"), [
    (dict(backbone=VIT | dict(final_norm=False), norm="layer"), "avg", True),
    (dict(pooling="class"), "token", False),
    (dict(pooling="mean"), "avg", False),
])
def test_vit_equals_timms_classifier(options, pool, fc_norm):
    model = build(**options).eval()
    reference = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=7, global_pool=pool,
                                  fc_norm=fc_norm, **VIT["model_kwargs"]).eval()
    state = timm_names(model)
    if not fc_norm:
        state = {name.replace("fc_norm", "norm"): value for name, value in state.items()}
    reference.load_state_dict(state)
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(model(images), reference(images))


@pytest.mark.parametrize(("backbone", "name", "options"), [
    (SWIN, "swin_tiny_patch4_window7_224", dict(img_size=64, window_size=4)),
    (CNN, "resnet18", {}),
])
def test_swin_and_cnn_equal_timms_classifiers(backbone, name, options):
    model = build(backbone).eval()
    reference = timm.create_model(name, num_classes=7, **options, **backbone["model_kwargs"]).eval()
    renamed = {"head": "head.fc"} if "swin" in name else {"head": "fc"}
    state = {n.removeprefix("backbone."): v for n, v in model.state_dict().items()}
    for part in ("weight", "bias"):
        state[f"{next(iter(renamed.values()))}.{part}"] = state.pop(f"head.{part}")
    reference.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(images), reference(images))


def test_losses_are_timms():
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 6, 2, 2])
    plain = build().eval()
    logits = plain(images)
    torch.testing.assert_close(plain(images, labels, mode="loss")["loss"], F.cross_entropy(logits, labels))
    smooth = build(label_smoothing=0.1).eval()
    torch.testing.assert_close(smooth(images, labels, mode="loss")["loss"],
                               LabelSmoothingCrossEntropy(0.1)(logits, labels))
    sigmoid = build(loss="sigmoid", label_smoothing=0.1).eval()
    torch.testing.assert_close(sigmoid(images, labels, mode="loss")["loss"], BinaryCrossEntropy(0.1)(logits, labels))


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_erasing_mixup_and_cutmix_are_timms_in_this_order(loss):
    mixup = dict(mixup_alpha=0.8, cutmix_alpha=1.0)
    threshold = dict(target_threshold=0.2) if loss == "sigmoid" else {}
    model = build(mixup=mixup, random_erasing=dict(probability=0.5, mode="pixel"), label_smoothing=0.1, loss=loss,
                  **threshold).eval()
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 5])
    criterion = SoftTargetCrossEntropy() if loss == "softmax" else BinaryCrossEntropy(target_threshold=0.2)
    seen = set()
    for seed in range(4):
        def draw(seed=seed):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
        draw()
        got = model(images.clone(), labels, mode="loss")["loss"]
        draw()
        erased = RandomErasing(0.5, mode="pixel", device="cpu")(images.clone())
        mixed, targets = Mixup(**mixup, label_smoothing=0.1, num_classes=7)(erased, labels)
        torch.testing.assert_close(got, criterion(model(mixed), targets))
        seen.add(round(got.item(), 4))
    assert len(seen) == 4


def test_predictions_are_not_mixed_and_have_no_ties():
    model = build(mixup=dict(mixup_alpha=0.8), head_std=2.0).eval()
    images = torch.randn(3, 3, 32, 32) * 50
    outputs = model(images, torch.tensor([4, 5, 6]), mode="predict")
    logits = model(images)
    assert [output["gt_label"] for output in outputs] == [4, 5, 6]
    assert [output["pred_label"] for output in outputs] == logits.argmax(1).tolist()
    assert torch.equal(torch.stack([output["pred_score"] for output in outputs]), logits)


@pytest.mark.parametrize("backbone", [VIT | dict(final_norm=False), SWIN, CNN], ids=["vit", "swin", "cnn"])
def test_every_parameter_gets_a_gradient_and_a_frozen_backbone_none(backbone):
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([1, 3])
    model = build(backbone, norm="layer").train()
    model(images, labels, mode="loss")["loss"].backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    probe = build(backbone, norm="batch", freeze_backbone=True).train()
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    probe(images, labels, mode="loss")["loss"].backward()
    assert [name for name, p in probe.named_parameters() if p.grad is not None] == ["head.weight", "head.bias"]
    changed = [name for name, value in probe.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


@pytest.mark.parametrize(("options", "message"), [
    (dict(pooling="max"), "Classifier: got pooling='max'"),
    (dict(norm="group"), "got norm='group', expected None, 'layer' or 'batch'"),
    (dict(loss="hinge"), "got loss='hinge'"),
    (dict(pooling="class", backbone=VIT | dict(rel_pos="bias")), "leave the class token out"),
    (dict(pooling="class", backbone=CNN), "no class token"),
    (dict(mixup=dict(alpha=0.8)), "unexpected keyword argument 'alpha'"),
    (dict(random_erasing=dict(prob=0.8)), "unexpected keyword argument 'prob'"),
])
def test_refuses(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


def test_an_odd_batch_cannot_be_mixed():
    with pytest.raises(UserError, match="even size, got 3"):
        build(mixup=dict(mixup_alpha=0.8))(torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]), mode="loss")


def test_attentive_probe_attends_to_frozen_patch_tokens_as_timm():
    model = build(pooling="attention", freeze_backbone=True)
    images = torch.randn(3, 3, 32, 32)
    tokens = model.backbone(images)[-1].flatten(2).transpose(1, 2)  # [3, 16, 24], after the final norm
    pooled = timm.layers.AttentionPoolLatent(24, num_heads=1, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    pooled.load_state_dict(model.attend.state_dict())
    torch.testing.assert_close(model(images), model.head(pooled(tokens)))
    model.train()
    model(images, torch.tensor([0, 1, 2]), mode="loss")["loss"].backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in (*model.attend.parameters(), *model.head.parameters()))
    assert not model.backbone.training and model.attend.training


def test_attentive_probe_learns_what_the_mean_does_not_show():
    """Two classes whose tokens have the same mean: where one token differs, another differs the other way."""
    torch.manual_seed(0)
    model = build(pooling="attention", freeze_backbone=True).attend
    head = torch.nn.Linear(24, 2)
    signs = torch.randint(2, (256,))
    tokens = torch.randn(256, 16, 24) * 0.1
    tokens[:, 0, 0] += 3 * signs
    tokens[:, 1, 0] -= 3 * signs
    tokens -= tokens.mean(1, keepdim=True)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(head(model(tokens[:128])), signs[:128]).backward()
        optimizer.step()
    assert (head(model(tokens[128:])).argmax(1) == signs[128:]).float().mean() > 0.9


@pytest.mark.parametrize(("options", "words"), [
    (dict(pooling="max"), "'mean', 'class' or 'attention'"),
    (dict(pooling="attention", backbone=VIT | dict(model_kwargs=dict(embed_dim=200, depth=1, num_heads=1))),
     "each 64 channels, got a backbone of 200"),
])
def test_poolings_that_cannot_be_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        build(**options)
