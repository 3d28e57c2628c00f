"""Every shipped config resolves to what it did: the digests in `tests/fixtures/resolved_configs.json`.

They were made before the configs were shortened. They hold for mmdet 3.3.0 and mmseg 1.2.2, whose configs are among the
bases. A change of what runs renews them on purpose: `python tests/helpers/resolved_configs.py`.
"""
import json

import pytest
from resolved_configs import FIXTURE, LEAVES, digest, resolve

EXPECTED = json.loads(FIXTURE.read_text())


def test_no_shipped_config_was_lost():
    assert list(EXPECTED) == LEAVES


@pytest.mark.parametrize("leaf", LEAVES)
def test_resolves_to_what_it_did(leaf):
    cfg = resolve(leaf)
    assert digest(cfg) == EXPECTED[leaf], f"{leaf} resolves to other values than before"
    # cuDNN tries its algorithms once for each shape: images of detection have many.
    if "env_cfg" in cfg:
        assert cfg["env_cfg"]["cudnn_benchmark"] is (cfg["task"] != "detection" if "task" in cfg else True), leaf
