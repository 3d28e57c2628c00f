"""VQ-KD against the official code, and which files are taken.

How `fixtures/vqkd_official.json` was made: VQKD of microsoft/unilm's beit2/modeling_vqkd.py without teacher, encoder of
width 128, 2 blocks, 2 heads, patch 8 and 48 pixels, 64 codes of length 16; weights by `official`, images by `numbers`,
as in the test. `published` are the names and shapes of vqkd_encoder_base_decoder_3x768x12_clip.
"""
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from deterministic import numbers
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS
from pretrain.tokenizers.base import resize
from pretrain.tokenizers.vqkd import VQKDTokenizer

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "vqkd_official.json").read_text())
IMAGES = numbers("images", (3, 3, 48, 48), 1.0).sigmoid()


def official(name: str, shape: list[int]) -> Tensor:
    """Make a tensor of the official model: 0.05 times normal numbers, 1 added to the weights of norms, codes of length
    1.
    """
    value = numbers(name, tuple(shape), 0.05) + ("norm" in name and name.endswith("weight"))
    return F.normalize(value, dim=-1) if name == "quantize.embedding.weight" else value


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name: official(name, shape) for name, shape in OFFICIAL["shapes"].items()}


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("vqkd") / "small.pth"
    torch.save({"model": state, "epoch": 99}, path)
    return str(path)


def save(state: dict[str, Tensor], folder: Path) -> str:
    torch.save(state, folder / "tokenizer.pth")
    return str(folder / "tokenizer.pth")


@pytest.mark.parametrize("autocast", [False, True])
def test_ids_equal_the_official_code(checkpoint, autocast):
    tokenizer = TOKENIZERS.build(dict(type="VQKDTokenizer", checkpoint=checkpoint)).train()
    assert tokenizer.num_codes == 64 and tokenizer.input_size == 48
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ids = tokenizer(IMAGES)
    assert ids.dtype == torch.int64 and ids.tolist() == OFFICIAL["ids"] and len(ids.unique()) == 32
    vectors = []
    tokenizer.encode_task_layer.register_forward_hook(lambda module, args, out: vectors.append(out))
    tokenizer(IMAGES)
    sums = F.normalize(vectors[0].double(), dim=-1).abs().sum((1, 2))
    assert sums.tolist() == pytest.approx(OFFICIAL["vectors_sum_by_image"], rel=1e-5)


def test_files_of_the_published_names_and_shapes_load_completely(tmp_path):
    state = {name: torch.randn(shape[-1:]).expand(shape) for name, shape in OFFICIAL["published"].items()}
    teacher = {"teacher_model.visual.proj": torch.zeros(768, 512), "scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    path = save({"model": state | teacher}, tmp_path)
    tokenizer = VQKDTokenizer(path)
    assert (tokenizer.num_codes, tokenizer.input_size) == (8192, 224)
    loaded = tokenizer.state_dict()
    parts = ("encoder.", "encode_task_layer.", "quantize.embedding.weight")
    assert set(loaded) == {name for name in state if name.startswith(parts)} and len(loaded) == 167
    assert all(torch.equal(value[-1], state[name][-1]) for name, value in loaded.items())
    assert all(block.attn.num_heads == 12 for block in tokenizer.encoder.blocks)


def test_other_images_are_resized_and_other_sizes_resample_positions(checkpoint):
    tokenizer = VQKDTokenizer(checkpoint)
    larger = F.interpolate(IMAGES, 80, mode="bilinear")
    assert torch.equal(tokenizer(larger), tokenizer(resize(larger, 48)))
    wide = VQKDTokenizer(checkpoint, input_size=64)
    assert wide(IMAGES).shape == (3, 8, 8) and wide(IMAGES).max() < 64
    assert torch.equal(wide.encoder.pos_embed[:, :1], tokenizer.encoder.pos_embed[:, :1])
    assert wide.identity["sha256"] == tokenizer.identity["sha256"] and wide.identity != tokenizer.identity
    with pytest.raises(UserError, match=r"input_size=50, expected a multiple of the patch 8"):
        VQKDTokenizer(checkpoint, input_size=50)


def test_published_files_are_known_by_their_digest(checkpoint, monkeypatch):
    assert VQKDTokenizer(checkpoint).identity["source"] == "VQ-KD of BEiT v2"
    monkeypatch.setattr("pretrain.tokenizers.vqkd.sha256_file", lambda path: "d5036aa7" + 56 * "0")
    identity = VQKDTokenizer(checkpoint).identity
    assert identity["source"] == "vqkd_encoder_base_decoder_3x768x12_clip"
    assert identity["type"] == "VQKDTokenizer" and identity["num_codes"] == 64


def test_files_that_do_not_fit_are_refused(state, tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*download vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7"):
        VQKDTokenizer(str(tmp_path / "absent.pth"))
    with pytest.raises(UserError, match=r"holds no encoder.pos_embed; expected a VQ-KD of BEiT v2"):
        VQKDTokenizer(save({"weight": torch.zeros(1)}, tmp_path))
    cut = {name: value for name, value in state.items() if name != "encoder.blocks.1.attn.v_bias"}
    with pytest.raises(UserError, match=r"does not fit VQKDTokenizer.*encoder.blocks.1.attn.v_bias"):
        VQKDTokenizer(save(cut, tmp_path))
    with pytest.raises(UserError, match=r"does not fit VQKDTokenizer.*encoder.blocks.0.gamma_1"):
        VQKDTokenizer(save({**state, "encoder.blocks.0.gamma_1": torch.ones(128)}, tmp_path))
