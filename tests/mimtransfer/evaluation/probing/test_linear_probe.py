"""Linear probes: MAE's released code on the same features, scikit-learn's optimum, and one head among many."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.optim import CosineAnnealingLR, LinearLR, build_optim_wrapper
from mmengine.registry import init_default_scope
from sklearn.linear_model import LogisticRegression
from torch import nn

from mimtransfer.evaluation.probing.linear_sweep import LinearHeads, train_heads, warmup_cosine
from mimtransfer.registry import MODELS
from mimtransfer.training.optimizers import LARS

OFFICIAL = json.loads(Path(__file__).with_name("fixtures").joinpath("linprobe_official.json").read_text())


@MODELS.register_module()
class FeaturesAsMaps(BaseModule):
    """A backbone whose map is its input, [B, D, 1, 1], times a weight that nobody may train."""

    def __init__(self, embed_dim):
        super().__init__()
        self.embed_dim, self.scale = embed_dim, nn.Parameter(torch.ones(1))

    def forward(self, images):
        return (images * self.scale,)


def made_up():
    """Return the features, labels and first weights that the released code was run on."""
    n, width, classes = OFFICIAL["num_images"], OFFICIAL["width"], OFFICIAL["num_classes"]
    draw = np.random.RandomState(0)
    labels = draw.randint(0, classes, n)
    features = draw.randn(classes, width)[labels] + 2 * draw.randn(n, width) + 3
    return torch.from_numpy(features).float(), torch.from_numpy(labels), torch.from_numpy(
        0.3 * draw.randn(classes, width)).float()


def test_cached_probes_have_the_loss_curves_of_the_released_code():
    """All of their settings in one pass."""
    features, labels, first = made_up()
    heads = LinearHeads(features.shape[1], OFFICIAL["num_classes"], len(OFFICIAL["runs"]))
    for weight in heads.weights:
        weight.data.copy_(first)
    settings = [(run["lr"], run["weight_decay"]) for run in OFFICIAL["runs"]]
    schedule = {key: OFFICIAL[key] for key in ("epochs", "warmup_epochs", "batch_size", "seed")}
    losses = train_heads(heads, features, labels, settings, dict(type="LARS"), **schedule)
    for k, run in enumerate(OFFICIAL["runs"]):
        assert losses[:, k].tolist() == pytest.approx(run["losses"], abs=1e-5)
        assert heads.weights[k].double().square().sum().item() == pytest.approx(run["weight_sum_of_squares"], rel=1e-5)
        assert heads(features)[:, k].double().abs().sum().item() == pytest.approx(run["logits_sum"], rel=1e-5)
    assert len({tuple(run["losses"][-3:]) for run in OFFICIAL["runs"]}) == 3  # the settings do differ


@pytest.mark.parametrize("run", OFFICIAL["runs"], ids=lambda run: f"lr={run['lr']}")
def test_the_probe_that_is_trained_in_a_runner_has_them_too(run):
    features, labels, first = made_up()
    init_default_scope("mimtransfer")
    model = MODELS.build(dict(type="mimtransfer.Classifier", backbone=dict(type="FeaturesAsMaps", embed_dim=24),
                              num_classes=5, norm="batch", freeze_backbone=True)).train()
    model.head.weight.data.copy_(first)
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type="LARS", lr=run["lr"], weight_decay=run["weight_decay"]),
        constructor="LayerDecayOptimWrapperConstructor", paramwise_cfg=dict(layer_decay_rate=1.0)))
    batch, epochs, warmup = OFFICIAL["batch_size"], OFFICIAL["epochs"], OFFICIAL["warmup_epochs"]
    steps = len(features) // batch
    # mmengine's warm-up is at 1 one step before its end
    schedulers = [
        LinearLR(wrapper, start_factor=1e-9, begin=0, end=warmup * steps + 1, by_epoch=False),
        CosineAnnealingLR(wrapper, T_max=(epochs - warmup) * steps, begin=warmup * steps, by_epoch=False),
    ]
    generator, losses = torch.Generator().manual_seed(OFFICIAL["seed"]), []
    for _ in range(epochs):
        for index in torch.randperm(len(features), generator=generator).split(batch):
            data = dict(inputs=features[index][:, :, None, None], label=labels[index])
            losses.append(model.train_step(data, wrapper)["loss"].item())
            for scheduler in schedulers:
                scheduler.step()
    assert losses == pytest.approx(run["losses"], abs=1e-5)
    assert model.head.weight.double().square().sum().item() == pytest.approx(run["weight_sum_of_squares"], rel=1e-5)
    logits = model.eval()(features[:, :, None, None])
    assert logits.double().abs().sum().item() == pytest.approx(run["logits_sum"], rel=1e-5)
    assert model.backbone.scale.item() == 1.0 and model.backbone.scale.grad is None and not model.backbone.training


def test_probes_agree_with_scikit_learn():
    """Decayed SGD over the whole set ends at the optimum of L2-regularised logistic regression, which is unique."""
    draw = np.random.RandomState(1)
    centres = draw.randn(6, 12)
    sets = []
    for n in (300, 1000):
        labels = draw.randint(0, 6, n)
        sets.append((centres[labels] + 1.5 * draw.randn(n, 12), labels))
    (features, labels), (tested, truth) = sets
    decays = (0.3, 0.03, 0.01)
    heads = LinearHeads(12, 6, 3, torch.Generator().manual_seed(0))
    train_heads(heads, torch.from_numpy(features).float(), torch.from_numpy(labels), [(0.5, w) for w in decays],
                dict(type="SGD", momentum=0.9), epochs=600, warmup_epochs=5, batch_size=300, seed=0)
    with torch.no_grad():
        logits = heads(torch.from_numpy(tested).float()).double()
    mean, std = features.mean(0), np.sqrt(features.var(0) + 1e-6)
    unbiased = np.sqrt(features.var(0, ddof=1) + 1e-6)  # which BatchNorm uses for what it has not trained on
    for k, decay in enumerate(decays):
        reference = LogisticRegression(C=1 / (len(labels) * decay), tol=1e-10, max_iter=1000)
        reference.fit((features - mean) / std, labels)
        seen = (tested - mean) / unbiased
        accuracy = 100 * (logits[:, k].argmax(1).numpy() == truth).mean()
        assert accuracy == pytest.approx(100 * reference.score(seen, truth), abs=0.1)
        probabilities = logits[:, k].softmax(1).numpy()
        np.testing.assert_allclose(probabilities, reference.predict_proba(seen), atol=1e-3)


def test_a_head_among_others_is_trained_as_if_alone():
    features, labels, _ = made_up()
    settings = [(0.01, 0.1), (0.1, 0.0)]
    schedule = dict(epochs=3, warmup_epochs=1, batch_size=40, seed=3)
    both = LinearHeads(24, 5, 2, torch.Generator().manual_seed(0))
    losses = train_heads(both, features, labels, settings, dict(type="AdamW"), **schedule)
    assert losses.shape == (3 * 2, 2)  # 96 images: two batches of 40 an epoch
    for k, setting in enumerate(settings):
        alone = LinearHeads(24, 5, 1, torch.Generator().manual_seed(0))
        own = train_heads(alone, features, labels, [setting], dict(type="AdamW"), **schedule)
        torch.testing.assert_close(own[:, 0], losses[:, k], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(alone(features)[:, 0], both(features)[:, k], rtol=1e-4, atol=1e-5)


def test_lars_adapts_matrices_and_never_decays_biases():
    weight, bias = nn.Parameter(torch.full((2, 2), 3.0)), nn.Parameter(torch.tensor([4.0, 0.0]))
    optimizer = LARS([dict(params=[weight, bias], lr=0.5)], lr=1.0, weight_decay=0.1, momentum=0.9, trust_coeff=0.01)
    weight.grad, bias.grad = torch.full((2, 2), 0.2), torch.tensor([1.0, 2.0])
    optimizer.step()
    # |w| = 6, gradient with decay 0.2 + 0.3 in four places; timm's norm is the sum of the norms 0.4 and 0.6
    assert weight.tolist() == [pytest.approx([3 - 0.5 * 0.01 * 6 / 1.0 * 0.5] * 2)] * 2
    assert bias.tolist() == [4 - 0.5, -1.0]


def test_schedule():
    values = [warmup_cosine(epoch, 2, 6) for epoch in (0, 0.5, 2, 4, 6)]
    assert values == pytest.approx([0, 0.25, 1, 0.5, 0])
