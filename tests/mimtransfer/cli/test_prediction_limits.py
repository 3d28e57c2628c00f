"""What tools/predict.py refuses before a model is built or shown an image."""
import pytest

from mimtransfer.cli.prediction import check_device
from mimtransfer.errors import UserError


@pytest.mark.parametrize("device, told", [("cuda:0", "torch sees 0 CUDA devices"), ("cuda", "torch sees 0"),
                                          ("banana", "no such device")])
def test_a_device_that_is_not_here(device, told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=told):
        check_device(device)
    check_device("cpu")
