"""Which devices a suite runs on: the GPUs that nvidia-smi lists, and none where it prints an error."""
import pytest

from mimtransfer.suites.local import find_devices

FAILED = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that it is running."


@pytest.mark.parametrize("body, found", [
    (r"printf '0\n1\n'", ["0", "1"]), (f'echo "{FAILED}"; exit 9', [None, None]),
    (f'echo "{FAILED}"', [None, None]), ("echo 'No devices were found'; exit 6", [None, None]),
])
def test_an_error_of_nvidia_smi_is_no_device(tmp_path, monkeypatch, body, found):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{body}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_devices(None, None if found[0] else 2) == found
