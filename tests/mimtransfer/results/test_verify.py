"""Files behind records: unchanged, changed, moved, missing."""
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from fabricate_records import pretrain, transfer

from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.results.record import read_record, write_record
from mimtransfer.results.verify import report, verify

ROOT = Path(__file__).parents[3]
CONFIG = "task = 'detection'\nmodel = dict(type='Net')\noptim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1))\n"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def written(folder, record, checkpoint, config=CONFIG):
    """Write a work dir: checkpoint, config, and a record that knows both."""
    (folder / "log").mkdir(parents=True)
    (folder / "last.pth").write_text(checkpoint)
    (folder / "log/config.py").write_text(config)
    record["files"] = {
        "checkpoint": {"path": "last.pth", "sha256": digest(checkpoint)},
        "config": {"path": "log/config.py", "sha256": digest(config)},
        "log": None,
    }
    write_record(record, folder)


def study(folder):
    source = pretrain("mae")
    cfg = protocol_config({"model": {"type": "Net"}, "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.1}}})
    made = transfer("det", "detection", source, config=cfg, box_ap=30.0)
    made["init"] |= {"path": str(folder / "mae/last.pth"), "sha256": digest("weights")}
    written(folder / "mae", source, "weights")
    written(folder / "det", made, "detector")


def states(findings):
    return {(Path(finding.record).parent.name, finding.file.split()[0]): finding.state for finding in findings}


def test_nothing_changed_also_after_a_move(tmp_path):
    study(tmp_path / "here")
    for place in ("here", "there"):
        findings, well = verify([tmp_path / place])
        assert well and set(states(findings).values()) == {"as recorded"} and len(findings) == 5
        assert report(findings) == "2 records, files: 5 as recorded\n"
        if place == "here":
            shutil.move(tmp_path / "here", tmp_path / "there")


def test_what_changed_is_said(tmp_path):
    study(tmp_path)
    (tmp_path / "mae/last.pth").write_text("other weights")
    (tmp_path / "det/log/config.py").write_text(CONFIG.replace("0.1", "0.2"))
    findings, well = verify([tmp_path])
    assert not well
    assert states(findings) == {
        ("det", "checkpoint"): "as recorded",
        ("det", "config"): "changed",
        ("mae", "checkpoint"): "changed",
        ("mae", "config"): "as recorded",
        ("det", "initial"): "changed",
    }
    text = report(findings)
    assert f"    sha256 {digest('other weights')}, recorded {digest('weights')}\n" in text
    assert "    optim_wrapper.optimizer.lr: recorded 0.1, now 0.2\n" in text
    assert text.endswith("2 records, files: 2 as recorded, 3 changed\n")


def test_a_config_that_scores_the_same_is_said_too(tmp_path):
    study(tmp_path)
    (tmp_path / "det/log/config.py").write_text(CONFIG + "work_dir = 'elsewhere'\n")
    (finding,) = [finding for finding in verify([tmp_path])[0] if finding.state == "changed"]
    assert finding.details[1:] == ["nothing that decides the score has changed"]


def test_files_that_are_gone_are_no_change(tmp_path):
    study(tmp_path)
    (tmp_path / "det/last.pth").unlink()
    shutil.rmtree(tmp_path / "mae")
    findings, well = verify([tmp_path])
    assert well and report(findings).endswith("1 records, files: 1 as recorded, 2 not here\n")


def test_a_record_changed_by_hand_is_found_with_the_others(tmp_path):
    study(tmp_path)
    path = tmp_path / "det/result.json"
    path.write_text(path.read_text().replace('"AdamW"', '"SGD"'))
    findings, well = verify([tmp_path])
    assert not well and "does not match its fingerprint" in report(findings)
    assert states(findings)["mae", "checkpoint"] == "as recorded"


def test_records_of_schema_1_can_be_read(tmp_path):
    record = transfer("a", "detection", box_ap=1.0)
    (tmp_path / "new").mkdir()
    path = write_record(record, tmp_path / "new")
    del record["files"], record["curves"]
    del record["cost"]["device_type"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old/result.json").write_text(json.dumps(record | {"schema": 1}))
    found = read_record(tmp_path / "old/result.json")
    assert found == read_record(path) | {"cost": {**record["cost"], "device_type": None}}
    assert found["protocol"]["fingerprint"] == fingerprint(found["protocol"]["config"])
    assert "2 without a sha256 in the record" in report(verify([tmp_path / "old"])[0])


def test_status(tmp_path):
    study(tmp_path)
    command = [sys.executable, str(ROOT / "tools/table.py"), "--verify", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 records, files: 5 as recorded\n", "")
    (tmp_path / "det/last.pth").write_text("x")
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 1 and "det/result.json: checkpoint last.pth changed\n" in done.stdout
