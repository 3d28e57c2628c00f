"""Files whose tensors of a block are gone, of another shape or no real numbers: one line, and never zeros for them."""
import pytest
import torch
from vit_families import SMALL, random_state

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints import rotary
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.errors import UserError

ARCH = "vit_small_patch16_dinov3_qkvb"
BLOCK = "blocks.0.attn."


def timms(arch=ARCH):
    vit = TimmViT(arch, img_size=32, patch_size=8, model_kwargs=SMALL)
    return vit, {name: value.clone() for name, value in random_state(vit).items()}


def in_parts(state, biases="qkv"):
    """Queries, keys and values apart, as Hugging Face has them, in timm's other names."""
    for block in ("blocks.0.attn.", "blocks.1.attn."):
        for part, weight in zip("qkv", state.pop(f"{block}qkv.weight").chunk(3)):
            state[f"{block}{part}_proj.weight"] = weight
            if part in biases:
                state[f"{block}{part}_proj.bias"] = state.pop(f"{block}{part}_bias", torch.zeros(48))
    return state


def official(state):
    for block in ("blocks.0.attn.", "blocks.1.attn."):
        state[f"{block}qkv.bias"] = torch.cat([state.pop(f"{block}{part}_bias", torch.zeros(48)) for part in "qkv"])
        state[f"{block}qkv.bias_mask"] = torch.ones(144)
    return state


def gone(state, name):
    return {other: value for other, value in state.items() if other != name}


BROKEN = {
    "no values' bias": lambda s: gone(s, f"{BLOCK}v_bias"),
    "no queries' bias": lambda s: gone(s, f"{BLOCK}q_bias"),
    "a bias of one number": lambda s: s | {f"{BLOCK}q_bias": torch.ones(())},
    "a bias of two axes": lambda s: s | {f"{BLOCK}v_bias": torch.ones(1, 48)},
    "no keys": lambda s: gone(in_parts(s), f"{BLOCK}k_proj.weight"),
    "no values": lambda s: gone(in_parts(s), f"{BLOCK}v_proj.weight"),
    "no queries": lambda s: gone(in_parts(s), f"{BLOCK}q_proj.weight"),
    "no bias of values beside keys": lambda s: gone(in_parts(s), f"{BLOCK}v_proj.bias"),
    "keys of another width": lambda s: in_parts(s) | {f"{BLOCK}k_proj.weight": torch.ones(48, 40)},
    "keys of one number": lambda s: in_parts(s) | {f"{BLOCK}k_proj.weight": torch.ones(())},
    "a masked bias of one number": lambda s: official(s) | {f"{BLOCK}qkv.bias": torch.ones(())},
    "a masked bias of two": lambda s: official(s) | {f"{BLOCK}qkv.bias": torch.ones(2)},
    "a stem of one number": lambda s: s | {"patch_embed.proj.weight": torch.ones(())},
    "an MLP of one number": lambda s: s | {"blocks.0.mlp.fc1.weight": torch.ones(())},
    "an MLP of one axis": lambda s: s | {"blocks.0.mlp.fc2.weight": torch.ones(9216)},
    "complex numbers": lambda s: s | {"norm.weight": s["norm.weight"] * 1j},
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_line_and_the_backbone_as_it_was(case, tmp_path, monkeypatch):
    monkeypatch.setattr(rotary, "matching_archs", lambda encoder, archs: [])  # to name one takes seconds
    state = BROKEN[case](timms()[1])
    torch.save(state, tmp_path / "broken.pth")
    vit, before = timms()
    with pytest.raises(UserError, match=r"broken\.pth") as caught:
        load_backbone(vit, tmp_path / "broken.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


@pytest.mark.parametrize("arch", ["eva02_tiny_patch14_224", "vit_tiny_patch16_224"])
@pytest.mark.parametrize(("name", "shape"), [
    ("pos_embed", ()), ("pos_embed", (816,)), ("pos_embed", (0, 17, 48)), ("pos_embed", (2, 17, 48)),
    ("pos_embed", (2, 4, 4, 48)), ("cls_token", ()), ("cls_token", (48,)),
])
def test_positions_and_tokens_of_other_axes(arch, name, shape, tmp_path, monkeypatch):
    monkeypatch.setattr(rotary, "matching_archs", lambda encoder, archs: [])
    vit, state = timms(arch)
    torch.save(state | {name: torch.ones(shape)}, tmp_path / "broken.pth")
    with pytest.raises(UserError, match=rf"broken\.pth.* fit: .*{name} is "):
        load_backbone(vit, tmp_path / "broken.pth")


def test_parts_that_are_whole_are_joined_and_keys_alone_may_lack_a_bias(tmp_path):
    vit, wanted = timms()
    for biases in ("qv", "qkv"):
        torch.save(in_parts(timms()[1], biases), tmp_path / "parts.pth")
        assert set(load_backbone(vit, tmp_path / "parts.pth").matched) == set(wanted)
        assert all(torch.equal(value, wanted[name]) for name, value in vit.state_dict().items())
