"""What is stored for images is looked up on the host, before the batch goes to the device."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tokenizer_files import write_tokenizer

import pretrain.methods  # noqa: F401
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord, StoredRecord
from pretrain.masking.bank import MapBank
from pretrain.tokenizers.stored import StoredTokens

ENCODER = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
               model_kwargs=dict(depth=1, embed_dim=48, num_heads=3))
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def batch(index=(2, 0), flip=(True, False), box=((0.1, 0.2, 0.7, 0.9), (0.0, 0.0, 1.0, 1.0))):
    seed = torch.tensor([5, 6])
    record = AugRecord(torch.tensor(index), seed, torch.tensor(box), torch.tensor(flip))
    return dict(inputs=torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), record=record)


@pytest.fixture
def amt():
    torch.manual_seed(0)
    model = MODELS.build(dict(type="MAE", encoder=ENCODER, strategy=dict(type="AMTMasking"),
                              decoder=dict(embed_dim=48, depth=1, num_heads=3), data_preprocessor=PREPROCESSOR))
    model.strategy.bank = MapBank(torch.rand(3, 4, 4).half())
    return model


@pytest.mark.parametrize("legacy", [False, True])
def test_maps_come_with_the_batch_and_draw_the_same_layout(amt, legacy, monkeypatch):
    amt.strategy.legacy_crop = legacy
    data = batch()
    later = amt.draw_layout(amt.data_preprocessor(data)["inputs"], data["record"])  # without maps: read now
    monkeypatch.setattr(MapBank, "read", None)
    ready = amt.data_preprocessor(data, training=True)
    assert type(ready["record"]) is StoredRecord and type(data["record"]) is AugRecord
    assert ready["record"].maps.dtype == torch.float16 and ready["record"].ids is None
    for part, expected in zip(amt.draw_layout(ready["inputs"], ready["record"]), later):
        assert torch.equal(part, expected)


def test_no_maps_are_looked_up_without_a_bank_or_for_pictures(amt):
    assert type(amt.data_preprocessor(batch())["record"]) is AugRecord
    assert "record" not in amt.data_preprocessor(dict(inputs=batch()["inputs"]), True)
    amt.strategy.bank = None
    assert type(amt.data_preprocessor(batch(), True)["record"]) is AugRecord


def test_stored_ids_come_with_the_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = Config(dict(type="StoredTokens", path="run/ids"))
    write_tokenizer(tokenizer, 16, (4, 4))
    np.save("run/ids/ids.npy", np.arange(48, dtype=np.uint16).reshape(3, 4, 4) % 16)
    np.save("run/ids/boxes.npy", np.array([[0, 0, 1, 1]] * 3, np.float32))
    model = MODELS.build(dict(type="BEiT", encoder=ENCODER, tokenizer=tokenizer.to_dict(),
                              strategy=dict(type="BlockMasking"), data_preprocessor=PREPROCESSOR))
    whole = ((0.0, 0.0, 1.0, 1.0),) * 2
    data = batch(index=(2, 1), flip=(False, False), box=whole)
    later = model.draw_layout(model.data_preprocessor(data)["inputs"], data["record"])
    with pytest.raises(UserError, match="another crop or flip"):
        model.data_preprocessor(batch(index=(2, 1), flip=(False, True), box=whole), True)
    ready = model.data_preprocessor(data, True)
    monkeypatch.setattr(StoredTokens, "look_up", None)
    drawn = model.draw_layout(ready["inputs"], ready["record"])
    assert torch.equal(drawn.ids, later.ids) and drawn.ids[0].tolist() == [number % 16 for number in range(32, 48)]
    assert torch.equal(drawn.layout.masked, later.layout.masked)
