"""Run mmcv's own tests of the supplied ops against the stand-in: `run_mmcv_tests.py MMCV_CHECKOUT [pytest options]`.

The checkout is a clone of open-mmlab/mmcv at v2.1.0; only its tests are used. CUDA cases run where there is a GPU.
"""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[4])

import pytest  # noqa: E402

import mimtransfer  # noqa: E402, F401

OPS = (
    "nms",
    "bbox",
    "roi_align",
    "roi_pool",
    "focal_loss",
    "ms_deformable_attn",
    "deform_conv",
    "modulated_deform_conv",
    "info",
)

if __name__ == "__main__":
    os.chdir(sys.argv[1])  # the tests read ./tests/data
    files = [f"tests/test_ops/test_{op}.py" for op in OPS]
    isolated = ["-c", os.devnull, "--rootdir", ".", "--import-mode=importlib", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*isolated, "-q", "-rf", "-W", "ignore", *files, *sys.argv[2:]]))
