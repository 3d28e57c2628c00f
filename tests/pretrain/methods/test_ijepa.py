"""I-JEPA against the released code, and what its student sees.

How `fixtures/ijepa_official.json` was made: the encoders and the predictor of facebookresearch/ijepa (commit 52c1ae9,
src/models/vision_transformer.py), with the sizes of each case, 32 pixels and patches of 8, every parameter filled by
`official` below, images, context and blocks by `numbers`, as in the test; then the loss of src/train.py (smooth L1 to
the teacher's normalised tokens, `apply_masks` of src/masks/utils.py) in float32, and norms of all gradients.
"""
import json
from pathlib import Path

import pytest
import torch
from deterministic import numbers

from mimtransfer.errors import UserError
from pretrain.layout import TokenLayout
from pretrain.methods.ijepa import IJEPA

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "ijepa_official.json").read_text())["cases"]


def encoder(depth=2, **options):
    sizes = dict(embed_dim=48, depth=depth, num_heads=3, class_token=False)
    return dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
                model_kwargs=sizes, **options)


def official(name, shape):
    """Make a tensor of the official model: 0.05 times normal numbers, 1 added to the weights of norms."""
    return numbers(name, tuple(shape), 0.05) + ("norm" in name and name.endswith("weight"))


def ours(name):
    """Return what we call a tensor of the official model."""
    if not name.startswith("predictor."):
        part, _, inside = name.partition(".")
        return {"encoder": "student_encoder.", "target_encoder": "encoder."}[part] + inside
    name = name.removeprefix("predictor.").removeprefix("predictor_")
    return "predictor." + name.replace("proj.", "pred.", 1) if name.startswith("proj.") else "predictor." + name


def released_layout(case):
    order, visible = numbers("order", (2, 16), 1.0).argsort(1), case["visible"]
    rest = order[:, visible:]
    rows = [rest.gather(1, numbers(f"block {k}", tuple(rest.shape), 1.0).argsort(1)) for k in range(case["masks"])]
    hidden = torch.stack(rows, dim=1).flatten(0, 1)  # row b * K + k
    shown = order[:, :visible].repeat_interleave(case["masks"], 0)
    return TokenLayout(shown, hidden[:, : case["masked"]], hidden[:, case["masked"] :])


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_loss_and_gradients_equal_the_released_code(case):
    predictor = dict(embed_dim=case["predictor_dim"], depth=case["predictor_depth"])
    model = IJEPA(encoder(case["depth"]), predictor=predictor, masks_per_image=case["masks"])
    state = {ours(name): official(name, shape) for name, shape in case["shapes"].items()}
    fixed = model.load_state_dict(state, strict=False)
    assert not fixed.unexpected_keys and {name.rpartition(".")[2] for name in fixed.missing_keys} == {"pos_embed"}
    loss = model.train().loss(numbers("images", (2, 3, 32, 32), 1.0), released_layout(case))["loss"]
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    loss.backward()
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()
             if parameter.requires_grad}
    expected = {ours(name): norm for name, norm in case["grad_norms"].items()}
    assert norms.keys() == expected.keys()
    assert norms == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return IJEPA(encoder(), predictor=dict(embed_dim=24, depth=1)).train()


def changed(images, patch):
    y, x = divmod(patch, 4)
    images = images.clone()
    images[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] += 3.0
    return images


def test_a_target_is_predicted_without_any_target_patch_of_the_image(model):
    """Pixels of a visible patch move all predictions of an image, those of a target none; they move the target."""
    images = numbers("images", (1, 3, 32, 32), 1.0)
    layout = model.draw_layout(images, None, 4)
    before, targets = model.predict(images, layout), model.targets(images)
    for patch in layout.masked.unique().tolist():
        assert torch.equal(model.predict(changed(images, patch), layout), before)
        assert (model.targets(changed(images, patch)) != targets).any()
    seen = model.predict(changed(images, layout.visible[0, 0].item()), layout)
    assert (seen != before).any(2).all()


def test_the_context_is_encoded_once(model):
    rows = []
    handle = model.student.blocks[0].register_forward_pre_hook(lambda block, args: rows.append(len(args[0])))
    images = numbers("images", (2, 3, 32, 32), 1.0)
    shared = model.draw_layout(images, None, 4)
    loss = model.loss(images, shared)["loss"]
    handle.remove()
    assert rows == [2] and len(shared.masked) == 8
    # As if each block came with a context of its own.
    alone = [model.loss(images, TokenLayout(*(part[k::4] for part in shared)))["loss"] for k in range(4)]
    torch.testing.assert_close(loss, torch.stack(alone).mean())


def test_any_strategy_gives_the_blocks():
    torch.manual_seed(0)
    model = IJEPA(encoder(), dict(type="RandomMasking", mask_ratio=0.5), dict(embed_dim=24, depth=1), 2)
    images = numbers("images", (2, 3, 32, 32), 1.0)
    layout = model.draw_layout(images, None, 2)
    single = [model.loss(images, TokenLayout(*(part[k::2] for part in layout)))["loss"] for k in range(2)]
    torch.testing.assert_close(model.loss(images, layout)["loss"], torch.stack(single).mean())
    with pytest.raises(UserError, match=r"IJEPA: nothing to predict, got mask_ratio=0.0; expected"):
        IJEPA(encoder(), dict(type="RandomMasking", mask_ratio=0.0))(images)
