"""DALL-E's discrete VAE against the official code, and which files are taken.

How `fixtures/dvae_official.json` was made: Encoder(n_hid=64, vocab_size=512) and Decoder(n_init=16, n_hid=64,
vocab_size=512) of openai/DALL-E's dall_e package; weights by `official`, images and codes by `numbers`, as in the
tests. `published` are the names and shapes of encoder.pkl and decoder.pkl.
"""
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from deterministic import numbers
from torch import Tensor, nn

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import TOKENIZERS
from pretrain.tokenizers.base import resize
from pretrain.tokenizers.dvae import DALLETokenizer, _Conv

OFFICIAL = json.loads((Path(__file__).parent / "fixtures" / "dvae_official.json").read_text())


def official(part: str) -> dict[str, Tensor]:
    """Make the weights of the encoder or the decoder: normal, scaled by the number of inputs."""
    sizes = {name: torch.Size(shape[1:]).numel() if len(shape) == 4 else 3600
             for name, shape in OFFICIAL["shapes"][part].items()}
    return {name: numbers(f"{part}.{name}", tuple(OFFICIAL["shapes"][part][name]), 3 * size**-0.5)
            for name, size in sizes.items()}


@pytest.fixture(scope="module")
def images() -> Tensor:
    coarse = numbers("images", (2, 3, 4, 6), 1.0).sign() * 0.4 + 0.5
    fine = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return (fine + numbers("noise", tuple(fine.shape), 0.02)).clamp(0, 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("dvae")
    for part in ("encoder", "decoder"):
        torch.save(official(part), folder / f"{part}.pkl")
    return {part: str(folder / f"{part}.pkl") for part in ("encoder", "decoder")}


@pytest.fixture(scope="module")
def tokenizer(files) -> DALLETokenizer:
    config = dict(type="DALLETokenizer", checkpoint=files["encoder"], decoder=files["decoder"], input_size=None)
    return TOKENIZERS.build(config)


def test_ids_equal_the_official_code(tokenizer, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids = tokenizer(images)
    assert ids.dtype == torch.int64 and ids.tolist() == OFFICIAL["ids"] and len(ids.unique()) == 11
    logits = tokenizer.encoder(images * 0.8 + 0.1).double()
    assert logits.abs().sum().item() == pytest.approx(OFFICIAL["logits_abs_sum"], rel=1e-5)


def test_batches_are_computed_in_parts(tokenizer, images, monkeypatch):
    monkeypatch.setattr("pretrain.tokenizers.dvae._IMAGES", 2)
    assert tokenizer(torch.cat([images, images[:1]])).tolist() == [*OFFICIAL["ids"], OFFICIAL["ids"][0]]


def test_pictures_equal_the_official_code(tokenizer):
    codes = numbers("codes", (2, 4, 6), 1.0).flatten().argsort().view(2, 4, 6) * 10
    pictures = tokenizer.decode(codes)
    assert pictures.shape == (2, 3, 32, 48) and 0 <= pictures.min() < pictures.max() <= 1
    rows = torch.tensor(OFFICIAL["pictures_by_row"])
    assert torch.allclose(pictures.double().sum((1, 3)), rows.double(), rtol=0, atol=1e-3)


def test_files_of_the_published_names_and_shapes_load_completely(tmp_path):
    states = {part: {name: torch.randn(shape[-1:]).expand(shape) for name, shape in shapes.items()}
              for part, shapes in OFFICIAL["published"].items()}
    for part, state in states.items():
        torch.save(state, tmp_path / f"{part}.pkl")
    tokenizer = DALLETokenizer(str(tmp_path / "encoder.pkl"), str(tmp_path / "decoder.pkl"))
    assert tokenizer.num_codes == 8192 and tokenizer.input_size == 112
    for part, state in states.items():
        loaded = getattr(tokenizer, part).state_dict()
        assert loaded.keys() == state.keys() and all(
            torch.equal(loaded[name][-1], state[name][-1]) for name in state
        )


def test_pickled_modules_are_read_without_their_classes(tokenizer, images, files, tmp_path, monkeypatch):
    # As published: the module itself, of classes that are not installed here.
    for name in ("dall_e", "dall_e.encoder", "dall_e.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = DALLETokenizer(files["encoder"]).encoder
    for part in [module, *module.modules()]:
        place = {_Conv: ("utils", "Conv2d"), type(module): ("encoder", "Encoder")}.get(type(part))
        place = ("encoder", "EncoderBlock") if hasattr(part, "res_path") else place
        if place:
            part.__class__ = official_class(*place)
            part.device = torch.device("cpu")  # as attrs leaves it in the official classes
    torch.save(module, tmp_path / "encoder.pkl")
    monkeypatch.undo()
    read = DALLETokenizer(str(tmp_path / "encoder.pkl"), input_size=None)
    assert torch.equal(read(images), tokenizer(images))
    with pytest.raises(UserError, match=r"holds .*(dall_e|torch\.nn)"):  # allowed for this one reading only
        read_checkpoint(tmp_path / "encoder.pkl")


def official_class(module: str, name: str) -> type:
    owner = sys.modules[f"dall_e.{module}"]
    if not hasattr(owner, name):
        setattr(owner, name, type(name, (nn.Module,), {"__module__": owner.__name__}))
    return getattr(owner, name)


def test_pickles_run_no_code(tmp_path):
    class Harmful(nn.Module):
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save(Harmful(), tmp_path / "encoder.pkl")
    with pytest.raises(UserError, match=r"exec"):
        DALLETokenizer(str(tmp_path / "encoder.pkl"))
    assert not (tmp_path / "ran").exists()


def test_images_are_resized_to_the_given_side(files, tokenizer, images):
    small = DALLETokenizer(files["encoder"], input_size=24)
    assert torch.equal(small(images), tokenizer(resize(images, 24))) and small(images).shape == (2, 3, 3)
    assert small.identity["sha256"] == tokenizer.identity["sha256"] and small.identity != tokenizer.identity
    assert small.decode(small(images)) is None
    with pytest.raises(UserError, match=r"input_size=50, expected a multiple of 8"):
        DALLETokenizer(files["encoder"], input_size=50)
    with pytest.raises(UserError, match=r"images of 30 x 48 pixels, expected a multiple of 8"):
        tokenizer(images[:, :, :30])


def test_files_that_do_not_fit_are_refused(files, tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*download https://cdn.openai.com/dall-e/encoder.pkl"):
        DALLETokenizer(str(tmp_path / "encoder.pkl"))
    with pytest.raises(UserError, match=r"is DALL-E's decoder.pkl, expected its encoder.pkl"):
        DALLETokenizer(files["decoder"])
    with pytest.raises(UserError, match=r"is DALL-E's encoder.pkl, expected its decoder.pkl"):
        DALLETokenizer(files["encoder"], decoder=files["encoder"])
    state = official("encoder")
    other = tmp_path / "other.pkl"
    torch.save({name: value for name, value in state.items() if name != "blocks.group_3.block_2.res_path.conv_2.w"},
               other)
    with pytest.raises(UserError, match=r"holds no blocks.group_3.block_2.res_path.conv_2.w; expected encoder.pkl"):
        DALLETokenizer(str(other))
    torch.save({**state, "blocks.group_5.block_1.id_path.w": torch.zeros(1)}, other)
    with pytest.raises(UserError, match=r"does not fit Network.*group_5"):
        DALLETokenizer(str(other))
    decoder = official("decoder")
    torch.save({**decoder, "blocks.input.w": decoder["blocks.input.w"][:, :100]}, other)
    with pytest.raises(UserError, match=r"decodes 100 codes.*has 512"):
        DALLETokenizer(files["encoder"], decoder=str(other))
