"""What tools/predict.py refuses before a model is built or shown an image."""
import pytest
from PIL import Image

from mimtransfer.cli.prediction import check_device, check_sides
from mimtransfer.errors import UserError


@pytest.mark.parametrize("device, told", [("cuda:0", "torch sees 0 CUDA devices"), ("cuda", "torch sees 0"),
                                          ("banana", "no such device")])
def test_a_device_that_is_not_here(device, told, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=told):
        check_device(device)
    check_device("cpu")


@pytest.mark.parametrize("size", [(2000, 5), (5, 2000)])
def test_an_image_that_is_too_narrow(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "narrow.png")
    with pytest.raises(UserError, match=f"narrow.png' has {size[0]} x {size[1]} pixels"):
        check_sides(str(tmp_path / "narrow.png"))
    Image.new("RGB", (2000, 20)).save(tmp_path / "panorama.png")
    check_sides(str(tmp_path / "panorama.png"))
