"""A tokenizer counts by its content: in the protocol of a run, and when the run is resumed."""
from pytest import mark, raises

from mimtransfer.errors import UserError
from mimtransfer.results.description import check_tokenizer, with_tokenizer

IDENTITY = dict(type="StoredTokens", num_codes=8, sha256="ab" * 32, source=dict(type="VQKD", sha256="cd" * 32))
OTHER = {**IDENTITY, "sha256": "ef" * 32}
WITHOUT_FILE = dict(type="Brightness", num_codes=8, sha256=None, source="brightness")


def test_protocol_says_what_the_tokenizer_is_and_not_where():
    config = {"model.tokenizer.path": "work_dirs/ids", "model.tokenizer.type": "StoredTokens", "model.type": "MaPeT"}
    found = with_tokenizer(config, IDENTITY)
    assert found == {
        "model.tokenizer.num_codes": 8, "model.tokenizer.sha256": "ab" * 32,
        "model.tokenizer.source.sha256": "cd" * 32, "model.tokenizer.source.type": "VQKD",
        "model.tokenizer.type": "StoredTokens", "model.type": "MaPeT",
    }  # fmt: skip
    assert with_tokenizer({**config, "model.tokenizer.path": "elsewhere"}, IDENTITY) == found
    assert with_tokenizer(config, OTHER) != found and with_tokenizer(config, None) == config


@mark.parametrize("own, signed", [(IDENTITY, OTHER), (IDENTITY, None), (None, IDENTITY), (IDENTITY, WITHOUT_FILE)])
def test_resume_with_another_tokenizer(own, signed):
    check_tokenizer(own, own)
    with raises(UserError, match=r"was trained with (the|no) ") as error:
        check_tokenizer(own, signed)
    assert "\n" not in str(error.value)
