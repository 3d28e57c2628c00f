"""tools/gpu_report.py on the CPU: a whole report of few cases, failures among them."""
import json

import pytest
from forked_tool import run_tool


def run(tmp_path, *args):
    out, log = tmp_path / "report", tmp_path / "log"
    status = run_tool(log, "--device", "cpu", "--quick", "--out", out, "--rounds", 1, *args, tool="gpu_report")
    (path,) = out.glob("*.json")
    return status, json.loads(path.read_text()), path.with_suffix(".md").read_text(), log.read_text()


def test_a_report_is_whole_though_a_case_failed(tmp_path):
    only = ["dVAE", "Loading", "backward: eager", "backward: detectron2"]  # all but what is compiled, which takes long
    options = ["--detectron2", tmp_path / "nowhere", "--tflops", 1, "--only", *only]
    status, report, text, log = run(tmp_path, *options)
    assert status == [1] and report["complete"], log[-2000:]
    rows = {(row["name"], row["precision"]): row for row in report["rows"]}
    assert [name for name, _ in rows] == ["float32", "as shipped", "made-up batch", "JPEG files, augment=host",
                                          "JPEG files, augment=device", "eager", "eager",
                                          "detectron2"]
    failed = rows.pop(("detectron2", "bf16"))
    assert failed["status"] == "failed" and failed["error"].startswith("UserError: --detectron2")
    assert "failed: UserError: --detectron2" in text
    assert "failed: ViTDet backbone, forward and backward: detectron2" in log
    assert all(row["status"] == "ok" and row["seconds"] > 0 for row in rows.values())
    assert 0 <= rows["JPEG files, augment=device", "bf16"]["data_wait"] < 1 and "of a step waits for data" in text
    eager = rows["eager", "bf16"]
    flops = eager["gflop_per_image"] * 1e9 * eager["images_per_s"]
    assert eager["mfu"] == pytest.approx(flops / 1e12) and eager["memory_bytes"] is None
    assert "## dVAE tokenizer" in text and "`--quick`" in text


def test_what_no_time_is_left_for_is_named(tmp_path):
    status, report, text, _ = run(tmp_path, "--only", "UperNet", "--minutes", 0)
    assert status == [0] and [row["status"] for row in report["rows"]] == ["left out"]
    assert "left out: no time was left" in text
