"""Bytes and operations of a fake step, counted by hand, and held against torch's own count of a real one."""
import calibrate_plan
import pytest
import torch
from fake_steps import shrink
from mmengine.config import Config
from mmengine.model import BaseModel
from shipped_configs import load
from torch import nn

import pretrain.methods  # noqa: F401
from mimtransfer.planning.fake import Fake
from mimtransfer.planning.step import FIXED, FakeStep, Task
from pretrain.planning.task import pretraining_task

DEBUG = "debug/mae_vit-debug_2e_folder.py"
ADAM = Config(dict(optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.1, foreach=False))))
WIDTH = 512  # a matrix is 1 MiB


class TwoLayers(BaseModel):
    """x -> linear -> sigmoid -> linear -> mean of squares."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))

    def forward(self, inputs, mode):
        return {"loss": self.second(self.first(inputs).sigmoid()).square().mean()}


def step(cuda=False, amp=False, cfg=ADAM, model=TwoLayers):
    def data(fake, model, images):
        return dict(inputs=fake.empty(images, WIDTH))

    return FakeStep(cfg, Task(model, data, (1, WIDTH)), amp, cuda)


def test_bytes_by_hand():
    """With a batch of WIDTH each matrix is a MiB: two layers, four moments, the input, what sigmoid and second layer
    leave; and four more for the gradient of the square: that of the mean, the number itself, twice it, the product.
    """
    cost = step().run(WIDTH)
    mib = {kind: round(size / 2**20, 2) for kind, size in cost.memory.items()}
    assert mib == {"weights": 2, "gradients": 0, "optimizer state": 4, "activations": 2, "other": 1 + 4}
    assert cost.moment == "backward"
    assert cost.peak == pytest.approx(13 * 2**20, rel=0.001)
    # While the optimizer runs: 2 weights, 4 moments, 2 gradients; of its loop a root, the divisor, and the one before.
    assert cost.update == pytest.approx((2 + 4 + 2 + 3) * 2**20, rel=0.001)


def test_batch_and_accumulation():
    """Four times the batch adds four times the activations; gradients that are kept add themselves."""
    fake = step()
    one, four, kept = fake.run(WIDTH), fake.run(4 * WIDTH), fake.run(4 * WIDTH, accumulating=True)
    fixed = 6 * 2**20
    assert (four.before_update - fixed) / (one.before_update - fixed) == pytest.approx(4, rel=0.02)
    assert kept.before_update - four.before_update == pytest.approx(2 * 2**20, rel=0.02)
    assert kept.memory["gradients"] == 2 * 2**20
    assert one.update == four.update
    assert one.flops * 4 == four.flops == 5 * 2 * 4 * WIDTH**3  # two products forward, three backward: none for x


def test_nothing_is_left_of_a_step():
    fake = step()
    first = fake.run(8)
    before = dict(fake.fake.now)
    assert fake.run(8) == first
    assert {kind: size for kind, size in fake.fake.now.items() if size} == {k: v for k, v in before.items() if v}


def test_recomputed_blocks_keep_less():
    class Recomputed(TwoLayers):
        def forward(self, inputs, mode):
            x = torch.utils.checkpoint.checkpoint(
                lambda x: self.first(x).sigmoid().sigmoid().sigmoid(), inputs, use_reentrant=False)
            return {"loss": self.second(x).square().mean()}

    class Kept(TwoLayers):
        def forward(self, inputs, mode):
            return {"loss": self.second(self.first(inputs).sigmoid().sigmoid().sigmoid()).square().mean()}

    recomputed, kept = (step(cuda=True, amp=True, model=model).run(64 * WIDTH) for model in (Recomputed, Kept))
    assert recomputed.memory["activations"] < kept.memory["activations"]
    assert recomputed.flops == kept.flops + 2 * 64 * WIDTH**3  # the first layer once more


def test_recomputation_runs_as_the_forward_pass_did():
    """A norm after a product keeps a float32 copy on a GPU; recomputed without that, torch finds other tensors."""
    class Norms(TwoLayers):
        def __init__(self, recomputed):
            super().__init__()
            self.norm, self.recomputed = nn.LayerNorm(WIDTH), recomputed

        def block(self, x):
            return self.norm(self.first(x)).sigmoid()

        def forward(self, inputs, mode):
            for _ in range(4):
                inputs = torch.utils.checkpoint.checkpoint(self.block, inputs, use_reentrant=False) \
                    if self.recomputed else self.block(inputs)
            return {"loss": self.second(inputs).square().mean()}

    recomputed, kept = (step(cuda=True, amp=True, model=lambda r=r: Norms(r)).run(64 * WIDTH) for r in (True, False))
    assert recomputed.flops == kept.flops + 4 * 2 * 64 * WIDTH**3  # the first layer once more in each block
    assert recomputed.memory["activations"] < 0.6 * kept.memory["activations"]


@pytest.mark.parametrize("masked", [False, True])
def test_attention_on_a_gpu_keeps_no_map(masked):
    """Queries, keys, values, output and the gradients: a map of 2048 x 2048 in each head would be ten times as much."""
    class Attention(BaseModel):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(64, 192)
            self.bias = nn.Parameter(torch.zeros(1, 1, 2048, 2048)) if masked else None

        def forward(self, inputs, mode):
            q, k, v = self.qkv(inputs).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
            return {"loss": y.square().mean()}

    def data(fake, model, images):
        return dict(inputs=fake.empty(images, 2048, 64))

    cost = FakeStep(ADAM, Task(Attention, data, (1, 1)), amp=True).run(8)
    assert cost.memory["activations"] < 0.1 * 8 * 4 * 2048**2 * 2 + 2 * 2048**2 * masked


def test_real_values_stay_real_and_fake_ones_are_invented():
    with Fake() as fake:
        images, boxes = fake.empty(4, 8), torch.arange(4.0)
        assert boxes[boxes > 1.5].tolist() == [2.0, 3.0] and boxes.sum().item() == 6
        assert images[boxes > 1.5].shape == (2, 8) and not fake.invented
        assert images[images.sum(1) > 0].shape == (4, 8)  # the most there can be
        assert (images.sum() > 0).item() is True
        images[boxes > 2.5] = 0.0
    assert sum(fake.invented.values()) == 2 and all("test_fake_step.py" in place for place in fake.invented)


def test_flops_of_mae_vit_base_by_hand():
    """Encoder on 49 visible patches and the class token, decoder on all 196 and it, prediction of the 147 masked ones,
    for which the last block computes all but keys and values.

    A product of [m, k] and [k, n] is 2mkn; backward twice that, for the pixels none; attention 2 products forward, 5
    backward, since flash computes its map anew.
    """
    def blocks(depth, width, tokens):
        return depth * (3 * 2 * 12 * width**2 * tokens + (2 + 5) * 2 * tokens**2 * width)

    projection = 2 * 2 * 196 * (16 * 16 * 3) * 768
    keys_and_values, rest = 3 * 2 * 2 * 512**2 * 197, 3 * 2 * 10 * 512**2 * 147 + (2 + 5) * 2 * 147 * 197 * 512
    last = keys_and_values + rest
    decoder = 3 * 2 * 50 * 768 * 512 + blocks(7, 512, 197) + last + 3 * 2 * 147 * 512 * (16 * 16 * 3)
    cfg = load("pretrain/mae_vit-base_800e_in1k.py")
    found = FakeStep(cfg, pretraining_task(cfg), amp=True)
    assert found.run(2).flops == 2 * (projection + blocks(12, 768, 50) + decoder)
    # timm's ViT-B without head and positions; the decoder of table 1 of the paper: 111.7 M weights of 4 bytes.
    encoder = 12 * (12 * 768**2 + 13 * 768) + 3 * 768 + 768 + (16 * 16 * 3 + 1) * 768 - 768
    decoder = 8 * (12 * 512**2 + 13 * 512) + 2 * 512 + 512 + (768 + 1) * 512 + (512 + 1) * 768
    assert found.trained_bytes == 4 * (encoder + decoder)


def test_several_masks_embed_an_image_once():
    """Each mask takes its operations; the projection of the 16 x 16 patches runs once, forward and for its weights."""
    cfg, found = load(DEBUG), []
    shrink(cfg)
    for masks in (1, 3):
        cfg.model.masks_per_image = masks
        fake = FakeStep(cfg, pretraining_task(cfg), amp=False)
        found.append(fake.run(4))
    (one, three), encoder = found, fake.model.encoder
    patches, inputs = encoder.grid_size[0] * encoder.grid_size[1], 3 * encoder.patch_size[0] * encoder.patch_size[1]
    projection = 4 * 2 * 2 * patches * inputs * encoder.embed_dim
    assert three.flops == 3 * (one.flops - projection) + projection
    kept = [cost.before_update - sum(cost.memory[kind] for kind in FIXED) for cost in (one, three)]
    assert 2 * kept[0] < kept[1] < 3 * kept[0]


def test_a_real_step_needs_what_was_predicted():
    """By torch's CPU allocator; docs/plan.md has the table of large models."""
    for amp in (False, True):
        predicted = calibrate_plan.predict(DEBUG, 64, amp)["predicted"]
        assert predicted == pytest.approx(calibrate_plan.measure(DEBUG, 64, amp)["measured"], rel=0.15)
