"""data2vec 2.0 against the released code, and what its student sees.

How `fixtures/data2vec2_official.json` was made: `Data2VecMultiModel` of facebookresearch/fairseq (commit 3d262bb2,
examples/data2vec/models/data2vec2.py and modalities/images.py), with the options of v2/base_images_only_task.yaml and
the sizes of each case, 32 pixels and patches of 8, `mask_noise_std=0`; every parameter filled by `official` below,
the teacher's with "teacher." before the name, images and masks by `numbers`, as in the test; then the losses over
`sample_size` as the trainer divides them, in float32, and norms of all gradients of their sum.
"""
import json
import re
from pathlib import Path

import pytest
import torch
from deterministic import numbers

from mimtransfer.errors import UserError
from pretrain.layout import TokenLayout
from pretrain.methods.data2vec2 import Data2Vec2

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "data2vec2_official.json").read_text())["cases"]
SMALL = dict(decoder=dict(embed_dim=32, depth=2, groups=4, noise_std=0.0), top_blocks=2)


def encoder(depth=2, post_norm=True, **sizes):
    return dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
                post_norm=post_norm, model_kwargs=dict(embed_dim=48, depth=depth, num_heads=3, **sizes))


def official(name, shape):
    """Make a tensor of the official model: 0.05 times normal numbers, 1 added to the weights of norms."""
    return numbers(name, tuple(shape), 0.05) + ("norm" in name and name.endswith("weight"))


def ours(name, case):
    """Return what we call a tensor of the official student: its first blocks are in a context encoder."""
    name = name.removeprefix("modality_encoders.IMAGE.")
    if name.startswith("decoder."):
        return re.sub(r"^decoder\.blocks\.(\d+)\.0", r"decoder.convs.\1", name).replace("decoder.proj", "decoder.pred")
    name = re.sub(r"^blocks\.(\d+)", lambda found: f"blocks.{int(found[1]) + case['prenet']}", name)
    name = name.replace("context_encoder.norm", "norm_pre").replace("context_encoder.", "")
    return "encoder." + name.replace("local_encoder", "patch_embed").replace("extra_tokens", "cls_token")


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_losses_and_gradients_equal_the_released_code(case):
    decoder = dict(embed_dim=case["decoder_dim"], depth=case["layers"], kernel=case["kernel"], groups=4, noise_std=0.0)
    rows = 2 * case["masks"]
    model = Data2Vec2(encoder(case["depth"]), decoder=decoder, top_blocks=case["top"], cls_weight=0.01 * rows,
                      masks_per_image=case["masks"])
    state = {}
    for name, shape in case["shapes"].items():
        state[ours(name, case)] = official(name, shape)
        if "decoder" not in name:
            state["teacher_" + ours(name, case)] = official(f"teacher.{name}", shape)
    fixed = model.load_state_dict(state, strict=False)
    assert not fixed.unexpected_keys and {name.rpartition(".")[2] for name in fixed.missing_keys} == {"pos_embed"}
    order = numbers("order", (rows, 16), 1.0).argsort(1)
    losses = model.train().loss(numbers("images", (2, 3, 32, 32), 1.0), TokenLayout.from_order(order, case["masked"]))
    assert losses["patch_error"].item() == pytest.approx(case["loss"], rel=1e-5)
    assert losses["class_error"].item() == pytest.approx(case["loss_cls"], rel=1e-5)
    assert losses["loss"].item() == pytest.approx(case["loss"] + case["loss_cls"], rel=1e-5)
    losses["loss"].backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()
             if parameter.requires_grad}
    expected = {ours(name, case): norm for name, norm in case["grad_norms"].items()}
    assert norms.keys() == expected.keys()
    assert norms == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("post_norm", [True, False])
def test_a_masked_patch_reaches_no_prediction(post_norm):
    """Its pixels move the targets of all patches, and neither what the student encodes nor what it predicts."""
    torch.manual_seed(0)
    model = Data2Vec2(encoder(post_norm=post_norm), cls_weight=1.0, masks_per_image=2, **SMALL).train()
    images = numbers("images", (1, 3, 32, 32), 1.0)
    layout = TokenLayout.from_order(numbers("order", (1, 16), 1.0).argsort(1), 9, 3)
    seen = model.encode_visible(images, layout)
    predicted = model.decoder(seen[:, 1:], layout, (4, 4))
    for hidden in (*layout.masked[0, :3].tolist(), layout.thrown[0, 0].item()):
        y, x = divmod(hidden, 4)
        changed = images.clone()
        changed[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] += 3.0
        assert torch.equal(model.encode_visible(changed, layout), seen)
        assert (model.targets(changed) != model.targets(images)).any(2).all()
    changed = seen.clone()
    changed[:, 1] += 1.0  # one visible token reaches the prediction of its neighbours
    assert (model.decoder(changed[:, 1:], layout, (4, 4)) != predicted).any()


def test_noise_fills_the_places_of_hidden_patches():
    torch.manual_seed(0)
    model = Data2Vec2(encoder(), **SMALL)
    model.decoder.noise_std = 0.01
    seen = []
    model.decoder.convs[0].register_forward_pre_hook(lambda conv, args: seen.append(args[0].flatten(2).transpose(1, 2)))
    layout = TokenLayout.from_order(torch.arange(16).expand(200, 16), 8, 4)
    model.decoder(torch.full((200, 4, 48), 7.0), layout, (4, 4))
    assert (seen[0][:, 12:] == 7).all()
    assert seen[0][:, :12].std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(("options", "said"), [
    (dict(top_blocks=3), r"Data2Vec2: got top_blocks=3; expected 1 to 2"),
    (dict(cls_weight=1.0, encoder=encoder(class_token=False)), "Data2Vec2: got cls_weight=1.0 and an encoder without"),
    (dict(decoder=dict(kernel=4)), "ConvDecoder: got kernel=4, groups=16"),
    (dict(momentum=(0.9, 0.8)), r"Data2Vec2: got momentum=\(0.9, 0.8\), momentum_end=1.0; expected two shares"),
    (dict(strategy=dict(type="RandomMasking", mask_ratio=0.0)), "Data2Vec2: nothing to predict, got mask_ratio=0.0"),
])  # fmt: skip
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        Data2Vec2(**dict(dict(encoder=encoder(), top_blocks=1), **options))(torch.zeros(1, 3, 32, 32))
